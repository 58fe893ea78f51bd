"""What an edited policy would have changed: the folder of one installation against another set, over its own record."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy import Engine

from remit.audit.decisions import Decisions
from remit.audit.policy_sets import Files, read_policies
from remit.catalogue import actions
from remit.policy.edits.gains import Replay
from remit.policy.edits.history import Differences, at_revision, differences
from remit.policy.edits.replay import Replayer, Sets
from remit.policy.source import Folder, read_folder
from remit.settings.read import Settings
from remit.state.database import open_database_to_read


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two sets of policies: their versions, what differs, and what that would have changed.

    `decisions`: how many are recorded in the time asked for.
    """

    before: str
    after: str
    differences: Differences
    decisions: int
    replay: Replay


@dataclass(frozen=True, slots=True)
class Asked:
    """What is compared with. `since`: microseconds since the epoch, of the oldest decision that is taken again."""

    against: Folder
    since: int


def against(settings: Settings, other: str) -> Folder:
    """The set that is compared with: of a folder, else of the policy folder at a revision of git."""
    folder = Path(other)
    return read_folder(folder) if folder.is_dir() else at_revision(settings.policy.folder, other)


def edited(settings: Settings) -> Folder:
    """The set that lies in the policy folder now."""
    return read_folder(settings.policy.folder)


def sets(settings: Settings, before: Folder, after: Folder) -> Sets:
    """Both, with the installation that they are about."""
    return Sets(before, after, settings.policy, settings.estate, dict(actions()))


def compare(
    settings: Settings, asked: Asked, began: Callable[[int, Differences], None], progress: Callable[[int], None]
) -> Comparison:
    """Takes the recorded decisions again under both sets; reads only.

    `began` hears how many there are and what differs before the first is taken, `progress` of every batch how many it
    had. Raises `SettingsInvalid` when one of the sets is not good.
    """
    compared = sets(settings, asked.against, edited(settings))
    replayer = Replayer(compared)
    found = differences(compared.before, compared.after)
    engine = open_database_to_read(settings.state)
    try:
        decisions = Decisions(engine, since=asked.since)
        recorded = decisions.count()
        began(recorded, found)
        done = replayer(decisions.batches(), _Kept(engine), progress)
    finally:
        engine.dispose()
    left = Counter(done.left) + Counter({str(why): times for why, times in decisions.left.items()})
    return Comparison(
        before=compared.before.version,
        after=compared.after.version,
        differences=found,
        decisions=recorded,
        replay=replace(done, left=dict(left)),
    )


def version_of(files: Files) -> str:
    """The version of a set of policies, by its files."""
    return Folder(texts=dict(files)).version


class _Kept:
    """The sets that once decided, as they are kept beside the ledger."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._read: dict[str, Folder | None] = {}

    def __call__(self, version: str) -> Folder | None:
        if version not in self._read:
            files = read_policies(self._engine, version, version_of)
            self._read[version] = None if files is None else Folder(texts=dict(files))
        return self._read[version]
