"""What can be asked of Remit itself: may they, who may, why, and what is granted just in time."""

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Engine

from remit.access.decide import Rooms
from remit.access.explain import Explain, Remembered
from remit.access.request import Ask
from remit.access.revoke import Revoker
from remit.access.run import Jobs as Runs
from remit.access.run import Keeping
from remit.access.who import Who
from remit.arbiter.explain import Why
from remit.arbiter.grants import Grants
from remit.arbiter.jobs import Jobs
from remit.arbiter.who import WhoMay
from remit.assembly.replay import version_of
from remit.audit.decisions import Decisions, Left
from remit.audit.lately import Lately
from remit.audit.lookup import find_whole
from remit.audit.policy_sets import read_policies
from remit.audit.recorder import LedgerRecorder
from remit.catalogue import actions
from remit.catalogue.words import Words
from remit.grants.runs import RunStore, RunView
from remit.grants.store import GrantStore
from remit.grants.view import GrantView
from remit.identity.directory.inventory import KeptInventory
from remit.identity.revocation.view import LONGEST
from remit.model.errors import EvidenceBroken, SettingsInvalid
from remit.policy.book import Book, made
from remit.policy.judge import CedarJudge
from remit.policy.named import NamedGroups
from remit.policy.source import Folder
from remit.policy.why.explainer import Explainer
from remit.settings.read import Settings


@dataclass(frozen=True, slots=True)
class Questions:
    """The endpoints."""

    who: WhoMay
    why: Why
    grants: Grants
    jobs: Jobs


@dataclass(frozen=True, slots=True)
class GrantKeeping:
    """What grants and runs are seen, written and ended with."""

    view: GrantView
    runs: RunView
    recorder: LedgerRecorder
    revoker: Revoker

    def refresh(self) -> None:
        """What was committed counts in this process; blocks."""
        self.view.refresh()
        self.runs.refresh()


def questions(  # noqa: PLR0917 - one for each part of the house
    settings: Settings, fitted: Rooms, judge: CedarJudge, named: NamedGroups, reader: Engine, keeping: GrantKeeping
) -> Questions:
    """Fits the stories together. `reader`: an engine that reads."""
    words, origin = Words(settings.estate), settings.identity.sessions.origin
    directory = KeptInventory(settings.identity.entra.tenant, reader, reader)
    store = GrantStore(reader, keeping.recorder)
    who = Who(fitted, words, directory, named, Lately(reader), store)
    explainer = Explainer(_books(settings, judge, reader), settings.estate, actions())
    explain = Explain(fitted, _remembered(reader), explainer, directory, who.approvers)
    ask = Ask(
        fitted,
        words,
        store,
        actions=actions(),
        named=lambda: judge.book.ground.declared,
        refresh=keeping.view.refresh,
    )
    kept = Keeping(RunStore(reader, keeping.recorder), store, keeping.revoker, keeping.refresh, LONGEST)
    runs = Runs(fitted, words, kept)
    return Questions(WhoMay(who, origin), Why(explain, origin), Grants(ask, origin), Jobs(runs, origin))


def _remembered(reader: Engine) -> Callable[[str], Remembered | None]:
    def find(decision: str) -> Remembered | None:
        entry = find_whole(reader, decision)
        if entry is None:
            return None
        past = Decisions(reader).past(entry)
        return Remembered(entry, None, str(past)) if isinstance(past, Left) else Remembered(entry, past)

    return find


def _books(settings: Settings, judge: CedarJudge, reader: Engine) -> Callable[[str], Book | None]:
    """The checked policy set of a version: the present one, else as it was kept beside the ledger."""

    def book_of(version: str) -> Book | None:
        present = judge.book
        if version == present.version:
            return present
        try:
            files = read_policies(reader, version, version_of)
            return (
                None if files is None else made(Folder(texts=dict(files)), settings.policy, settings.estate, actions())
            )
        except (EvidenceBroken, SettingsInvalid):  # of another estate, or changed behind our back
            return None

    return book_of
