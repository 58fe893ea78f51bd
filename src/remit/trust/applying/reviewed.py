"""The plans that were shown, kept so that an apply can say what changed since."""

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

from remit.state.private_file import write_whole
from remit.trust.applying.steps import change_of, same, written
from remit.trust.planning.plan import Change, Plan

_CHECKSUM = re.compile(r"[0-9a-f]{32}")
_KEPT = 20  # plans


def well_formed(checksum: str) -> bool:
    """Whether a text can be a plan's checksum."""
    return bool(_CHECKSUM.fullmatch(checksum))


def keep(folder: Path, plan: Plan) -> None:
    """Keeps a plan that was shown, and the last few before it; one who may not write there keeps none."""
    with contextlib.suppress(OSError):
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # the state folder: its owner's alone
        folder.mkdir(mode=0o700, exist_ok=True)
        text = json.dumps([written(change) for change in plan.changes])
        write_whole(folder / f"plan-{plan.checksum}.json", text.encode(), 0o600)
        plans = sorted(folder.glob("plan-*.json"), key=lambda path: path.stat().st_mtime)
        for path in plans[:-_KEPT]:
            path.unlink(missing_ok=True)


def kept(folder: Path, checksum: str) -> tuple[Change, ...] | None:
    """The changes of a plan that was shown here, `None` when it was not."""
    if not well_formed(checksum):
        return None
    try:
        document = json.loads((folder / f"plan-{checksum}.json").read_bytes())
        return tuple(change_of(each) for each in document)
    except (OSError, ValueError, KeyError, TypeError):  # it is only for telling the difference
        return None


def since(reviewed: tuple[Change, ...], now: Plan) -> Iterator[str]:
    """What differs from the plan that was reviewed, a line each."""
    before = {change.address: change for change in reviewed}
    for change in now.changes:
        old = before.pop(change.address, None)
        if old is None:
            yield f"new: {change.act} {change.address}: {change.says}"
        elif old.act is not change.act or not same(old.before, change.before) or not same(old.after, change.after):
            yield f"other than reviewed: {change.act} {change.address}: {change.says}"
    for old in before.values():
        yield f"no longer to be done: {old.act} {old.address}"
    yield from (f"problem: {problem}" for problem in now.problems)
