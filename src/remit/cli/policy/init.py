"""`remit policy init`: a policy set to start from."""

import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import click

from remit.cli.output import emit, json_option, printable, say, table
from remit.cli.serve import config_option
from remit.model.counts import counted
from remit.model.errors import Problem, RemitError, SettingsInvalid

if TYPE_CHECKING:
    from remit.model.estate import Estate
    from remit.settings.read import Settings

_GROUP = re.compile(r'\b(Group|Role|Job)::"([^"]+)"(?:[^\n]*?// ([^\n]*))?')
_GIVEN_GROUP = re.compile(r"([a-z][a-z0-9-]*): (9[ab]000000-[0-9a-f-]{27})")


@dataclass(frozen=True, slots=True)
class Foreign:
    """An id of Contoso's that stands in the written set. `name`: what Contoso calls it; `places`: how many times."""

    kind: str
    id: str
    name: str
    places: int


@click.command()
@config_option
@click.argument("folder", required=False, type=click.Path(path_type=Path, file_okay=False))
@json_option
def command(config: Path, folder: Path | None, *, as_json: bool) -> None:
    """Write Contoso's policies, obligations and tests into FOLDER, to be made your own.

    FOLDER is the policy folder of `remit.yaml` unless it is named; what is there already is never written over. Where
    an environment of `remit.yaml` has the name of one of Contoso's and holds one project, that project takes the place
    of Contoso's. What is still Contoso's is listed afterwards.
    """
    settings = _settings(config)
    target = folder or (settings.policy.folder if settings else Path("policies"))
    if target.exists() and any(target.iterdir()):
        raise RemitError(f"`{target}` holds something already", hint="name a folder that is new or empty")
    swaps = _swaps(settings.estate) if settings else {}
    written = _write(_contoso() / "policies", target, swaps)
    foreign = list(_foreign(target))
    problems = _problems(settings, target) if settings else ()
    if as_json:
        emit(
            {
                "folder": str(target),
                "files": [str(file) for file in written],
                "replaced": dict(swaps),
                "ids": [asdict(one) for one in foreign],
                "problems": [asdict(one) for one in problems],
            }
        )
        return
    table([{"what": one.kind, "id": one.id, "name": one.name or "-", "places": str(one.places)} for one in foreign])
    for problem in problems:
        click.echo(printable(str(problem)))
    there = counted(len(written), "file is", "files are")
    say(f"{there} in `{target}`" + ("" if settings else f"; there is no `{config}` to fit them to"))
    for old, new in swaps.items():
        say(f"`{old}` became `{new}`")
    say("put the ids of your own groups, roles and jobs in the place of those above, then run `remit policy check`")
    if settings is None or target.resolve() != settings.policy.folder.resolve():
        say(f"hint: it looks at the folder that `{config}` names under `policy`: `folder: {target.absolute()}`")


def _settings(config: Path) -> "Settings | None":
    """The installation, where there is one; raises `SettingsInvalid` for a file that is wrong."""
    from remit.settings.read import read

    return read(config, pending=True) if config.exists() else None


def _contoso() -> Path:
    return Path(str(resources.files("remit") / "examples" / "contoso"))


def _swaps(estate: "Estate") -> Mapping[str, str]:
    """Contoso's project ids and numbers, each with the one that takes its place.

    Only an environment of the same name with a single project has an obvious answer; others are left to people.
    """
    from remit.settings.read import read

    theirs = read(_contoso() / "remit.yaml").estate
    found: dict[str, str] = {}
    for environment in dict.fromkeys(project.environment for project in theirs.projects):
        first = next(project for project in theirs.projects if project.environment == environment)
        own = [project for project in estate.projects if project.environment == environment]
        if len(own) == 1 and own[0].id != first.id:
            found |= {first.id: own[0].id, first.number: own[0].number}
    return found


def _write(source: Path, target: Path, swaps: Mapping[str, str]) -> list[Path]:
    """Copies the set with whole words replaced; names that merely begin with a project's id stay as they are."""
    words = re.compile(r"(?<![\w-])(" + "|".join(map(re.escape, swaps)) + r")(?![\w-])") if swaps else None
    shutil.copytree(source, target, dirs_exist_ok=True)
    files = sorted(file for file in target.rglob("*") if file.is_file())
    for file in files:
        text = file.read_text(encoding="utf-8")
        if words:
            file.write_text(words.sub(lambda found: swaps[found[1]], text), encoding="utf-8")
    return files


def _foreign(folder: Path) -> Iterator[Foreign]:
    """The groups, roles and jobs that the policies name, with what a comment or a test calls them."""
    names: dict[str, str] = {}
    places: dict[tuple[str, str], int] = {}
    for file in sorted(folder.rglob("*")):
        text = file.read_text(encoding="utf-8") if file.is_file() else ""
        names |= {group: name for name, group in _GIVEN_GROUP.findall(text)}
        for kind, one, comment in _GROUP.findall(text) if file.suffix == ".cedar" else ():
            places[kind, one] = places.get((kind, one), 0) + 1
            if kind != "Role" and comment:
                names.setdefault(one, comment.strip())
    for (kind, one), count in sorted(places.items()):
        yield Foreign(kind.lower(), one, names.get(one, ""), count)


def _problems(settings: "Settings", folder: Path) -> tuple[Problem, ...]:
    """What `remit.yaml` does not have and the written policies name."""
    from dataclasses import replace

    from remit.assembly.policy_check import named_actions

    try:
        named_actions(replace(settings, policy=replace(settings.policy, folder=folder)))
    except SettingsInvalid as error:
        return error.problems
    return ()
