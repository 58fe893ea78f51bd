"""A secret or a certificate of an application is replaced, and nobody who signs in with it notices.

1  add     a new one beside the old, into a draft beside the file
2  prove   sign in with the new one, several times in a row: Entra's replicas learn of it one after another
3  switch  the draft takes the file's name; the old content stays aside
4  settle  wait for who read the old content a moment ago, and sign in with what the file holds now
5  remove  the old one at Entra, and what lies aside

Until the last step there is a way back, which leaves the old one as it was. Leaves out whether there has to be a secret
at all (`federated`).
"""

import asyncio
import os
import secrets
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from remit.model.errors import TrustBroken
from remit.state.private_file import write_whole
from remit.trust.applying.patience import Sleep, Tell
from remit.trust.rotating.entra import Kind
from remit.trust.rotating.journal import Journal, Rotation, Step

PROPAGATION = 420.0  # seconds that a new credential is given until every replica takes it
SETTLE = 30.0  # seconds: longer than any sign-in that began with the old one takes
DAYS = 180
_PROOFS = 3  # sign-ins in a row
_LONGEST = 15.0  # seconds between two attempts
_AGAIN = "`--resume` goes on, `--rollback` leaves the old one as it was"


@dataclass(frozen=True, slots=True)
class Rotating:
    """What a rotation works with. `settle`: seconds; `sleep`: seconds; `tell`: a line for people."""

    kind: Kind
    journal: Journal
    tell: Tell
    settle: float = SETTLE
    limit: float = PROPAGATION
    sleep: Sleep = asyncio.sleep


async def begin(work: Rotating, app: str, name: str, file: Path, *, old: str = "", days: int = DAYS) -> Rotation:
    """Replaces what a file holds; `name`: `secret` or `certificate`; `old`: key id, where the file does not say it.

    Raises `TrustBroken`; what was begun stays as it is then.
    """
    if work.journal.open():
        raise TrustBroken(f"a rotation of `{app}` was interrupted", hint=_AGAIN)
    place, content = _now(file)
    ends = await _ends(work, place, content, old)
    marker = f"remit {name} {secrets.token_hex(4)}"
    rotation = Rotation(app, name, str(place), marker, ends, first=content is None)
    return await _on(work, work.journal.write(rotation, Step.ADD), days)


async def resume(work: Rotating, *, days: int = DAYS) -> Rotation:
    """Goes on with a rotation that was interrupted."""
    rotation = _open(work)
    if rotation.step is Step.RETURN:
        raise TrustBroken("it is on the way back already", hint="`--rollback` goes on with that")
    if rotation.step is Step.PROVE and not _draft(rotation).exists():
        rotation = work.journal.write(rotation, Step.ADD)  # nobody knows the new one any more
    return await _on(work, rotation, days)


async def rollback(work: Rotating) -> Rotation:
    """Leaves the old one as it was, and nothing of the new one."""
    rotation = _open(work)
    if rotation.step is Step.REMOVE:
        raise TrustBroken("the old one may be gone already, so that there is no way back", hint="`--resume` ends it")
    switched = rotation.step in {Step.SWITCH, Step.SETTLE, Step.RETURN}
    rotation = work.journal.write(rotation, Step.RETURN)
    if switched:
        await _switch_back(work, rotation)
    for key in {rotation.new, *await _marked(work, rotation)} - {""}:
        await work.kind.remove(key)
    _draft(rotation).unlink(missing_ok=True)
    _aside(rotation).unlink(missing_ok=True)
    work.tell("the old one is as it was, and the new one is gone")
    return work.journal.write(rotation, Step.BACK)


async def _on(work: Rotating, rotation: Rotation, days: int) -> Rotation:
    if rotation.step is Step.ADD:
        rotation = await _add(work, rotation, days)
    if rotation.step is Step.PROVE:
        await _prove(work, _draft(rotation).read_bytes)
        work.tell("signed in with the new one")
        rotation = work.journal.write(rotation, Step.SWITCH)
    if rotation.step is Step.SWITCH:
        _switch(rotation)
        work.tell(f"`{rotation.file}` holds the new one")
        rotation = work.journal.write(rotation, Step.SETTLE)
    if rotation.step is Step.SETTLE:
        await work.sleep(work.settle)
        await _prove(work, Path(rotation.file).read_bytes)
        rotation = work.journal.write(rotation, Step.REMOVE)
    for key in rotation.old:
        await work.kind.remove(key)
        work.tell(f"the old one, `{key}`, is gone")
    _aside(rotation).unlink(missing_ok=True)
    return work.journal.write(rotation, Step.DONE)


async def _add(work: Rotating, rotation: Rotation, days: int) -> Rotation:
    for key in await _marked(work, rotation):  # of an attempt whose answer nobody has
        await work.kind.remove(key)
    new, content = await work.kind.add(rotation.marker, days)
    _write(_draft(rotation), content, like=Path(rotation.file))
    work.tell(f"added `{new}`, called `{rotation.marker}`")
    return work.journal.write(replace(rotation, new=new), Step.PROVE)


async def _prove(work: Rotating, content: Callable[[], bytes]) -> None:
    """Sign in a few times in a row; the file is read each time, as the running service does."""
    waited, pause, good = 0.0, 1.0, 0
    while good < _PROOFS:
        try:
            await work.kind.sign_in(content())
            good += 1
        except TrustBroken as failed:
            if waited >= work.limit:
                raise TrustBroken(f"{failed.message}, after {waited:.0f} s", hint=_AGAIN) from failed
            good, waited = 0, waited + pause
            work.tell(f"waiting for entra to take it ({waited:.0f} s)")
            await work.sleep(pause)
            pause = min(pause * 2, _LONGEST)


def _switch(rotation: Rotation) -> None:
    """The draft takes the file's name, in one step; whoever repeats it finds it done."""
    file, draft, aside = Path(rotation.file), _draft(rotation), _aside(rotation)
    if not draft.exists():
        return
    if file.exists() and not aside.exists():
        aside.hardlink_to(file)
    draft.replace(file)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


async def _switch_back(work: Rotating, rotation: Rotation) -> None:
    aside, file = _aside(rotation), Path(rotation.file)
    if aside.exists():
        await _prove(work, aside.read_bytes)
        # a copy: as long as the name `aside` stands, a crash is followed by the same again
        _write(_draft(rotation), aside.read_bytes(), like=aside)
        _draft(rotation).replace(file)
    elif rotation.first and not _draft(rotation).exists():
        _gone(file)
    await work.sleep(work.settle)


async def _ends(work: Rotating, file: Path, content: bytes | None, old: str) -> tuple[str, ...]:
    """The key ids that the new one replaces; raises `TrustBroken` rather than guess."""
    held = await work.kind.held()
    if old:
        if old not in {one.id for one in held}:
            raise TrustBroken(f"the application holds no `{old}`", hint="`remit trust rotate` lists what it holds")
        return (old,)
    if content is None:
        return ()
    try:
        tell = work.kind.tell(content)
    except ValueError as cause:
        raise TrustBroken(f"`{file}` holds no such credential") from cause
    found = [one.id for one in held if one.tell.upper() == tell.upper() and tell]
    if len(found) > 1:
        hint = "name the one that ends: " + ", ".join(f"`--old {one}`" for one in found)
        raise TrustBroken(f"`{file}` may hold any of {len(found)} of the application's", hint=hint)
    if not found:
        work.tell(f"`{file}` holds none of the application's, so that none is removed")
    return tuple(found)


async def _marked(work: Rotating, rotation: Rotation) -> list[str]:
    return [one.id for one in await work.kind.held() if one.name == rotation.marker]


def _open(work: Rotating) -> Rotation:
    rotation = work.journal.open()
    if rotation is None:
        raise TrustBroken("no rotation of it was interrupted")
    return rotation


def _now(file: Path) -> tuple[Path, bytes | None]:
    """The file itself, behind any links, and what it holds; raises `TrustBroken`."""
    place = file.resolve()
    try:
        return place, place.read_bytes() if place.exists() else None
    except OSError as error:
        raise TrustBroken(f"`{file}` cannot be read: {error.strerror}") from error


def _gone(file: Path) -> None:
    file.unlink(missing_ok=True)


def _write(path: Path, content: bytes, *, like: Path) -> None:
    """For its owner alone, or for those who read what it replaces: the service may be another user."""
    write_whole(path, content, 0o600)
    if like.exists() and like != path:
        status = like.stat()
        with suppress(PermissionError):  # only the superuser can give a file away
            os.chown(path, status.st_uid, status.st_gid)
        path.chmod(stat.S_IMODE(status.st_mode))


def _draft(rotation: Rotation) -> Path:
    return Path(f"{rotation.file}.next")


def _aside(rotation: Rotation) -> Path:
    return Path(f"{rotation.file}.previous")
