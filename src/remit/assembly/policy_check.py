"""The policies of one installation, tried and looked at: their tests, the records, and the directory as last told."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from cedarpy import PolicySet
from sqlalchemy import Engine

from remit.assembly import evidence
from remit.audit.decisions import Decisions, Left
from remit.catalogue import actions
from remit.catalogue.words import Words
from remit.identity.directory.inventory import KeptInventory
from remit.model.errors import Problem, Refused, RemitError, SettingsInvalid
from remit.model.inventory import Inventory
from remit.model.snapshot import FactsUnreadable
from remit.policy.book import Book, load
from remit.policy.lint import Policy
from remit.policy.source import TESTS, Folder, PolicyFile
from remit.policy.trials.cases import HINT, Case, World, read
from remit.policy.trials.coverage import Coverage, measure
from remit.policy.trials.trial import Result, run
from remit.policy.use.findings import Finding, Kind, Rule, Severity, idle, nested, unknown
from remit.policy.use.firing import Firings
from remit.policy.use.usage import Asked, Usage, look
from remit.policy.use.width import wider
from remit.settings.document import Document, parse
from remit.settings.read import Settings

_NEVER_DECIDED = frozenset({Left.UNASKED, Left.SUPPOSED})  # nothing is lost with them: no request passed or was refused


@dataclass(frozen=True, slots=True)
class Trial:
    """What became of the tests, and what they reach."""

    results: tuple[Result, ...]
    coverage: Coverage


@dataclass(frozen=True, slots=True)
class Checked:
    """Everything that was found, by place.

    `tests`, `decisions`: how many were looked at, `failed`: of the latter that could not be taken again; `since`: of
    the earliest, and `directory`: as of when it was read, seconds since the epoch, 0 for none.
    """

    findings: tuple[Finding, ...]
    tests: int = 0
    decisions: int = 0
    failed: int = 0
    since: int = 0
    directory: int = 0

    @property
    def passed(self) -> bool:
        """Whether there is nothing but notes."""
        return all(finding.severity is Severity.NOTE for finding in self.findings)


def tested(settings: Settings) -> Trial:
    """Runs the policy tests; raises `SettingsInvalid` with every problem of policies and tests."""
    try:
        firings = _firings(settings)
    except SettingsInvalid as error:
        raise SettingsInvalid((*error.problems, *_problems_of_tests(settings)), hint=error.hint) from error
    found = _cases(settings, _rules_of(firings))
    if not found:
        raise RemitError(
            f"there are no tests in `{settings.policy.folder / TESTS}`",
            hint="`remit policy init` writes a set with tests into another folder, to learn from",
        )
    return Trial(run(firings.book, settings.estate, actions(), found), measure(firings, found))


def named_actions(settings: Settings) -> frozenset[str]:
    """The actions that the policies name; raises `SettingsInvalid` with every problem of the policies."""
    book = load(settings.policy, settings.estate, actions())
    return frozenset(book.ground.declared) & actions().keys()


def checked(settings: Settings, since: int, *, offline: bool) -> Checked:
    """Looks at the policies, with the decisions recorded since a time (microseconds since the epoch).

    `offline`: without the state database, and so without records and directory.
    """
    try:
        firings = _firings(settings)
    except SettingsInvalid as error:
        return Checked(_invalid((*error.problems, *_problems_of_tests(settings)), error.hint))
    try:
        found = _cases(settings, _rules_of(firings))
    except SettingsInvalid as error:
        found, broken = (), _invalid(error.problems, error.hint)
    else:
        broken = ()
    usage = look(firings, ((case.identity, case.request, case.circumstances) for case in found))
    recorded, inventory = (None, None) if offline else _state(settings, firings, since)
    findings = (*broken, *_findings(settings, firings.book, recorded, usage, inventory))
    return Checked(
        findings=tuple(sorted(findings, key=_place)),
        tests=usage.decisions,
        decisions=recorded.decisions if recorded else 0,
        failed=recorded.failed if recorded else 0,
        since=recorded.since if recorded else 0,
        directory=inventory.at if inventory else 0,
    )


def _firings(settings: Settings) -> Firings:
    return Firings(load(settings.policy, settings.estate, actions()), settings.estate, actions())


def _rules_of(firings: Firings) -> frozenset[str]:
    return frozenset(firings.policies.values()) | frozenset(firings.obligations.values())


def _cases(settings: Settings, rules: frozenset[str] | None) -> tuple[Case, ...]:
    return read(_documents(settings), World(settings.estate, Words(settings.estate), rules))


def _problems_of_tests(settings: Settings) -> tuple[Problem, ...]:
    """What is wrong with the tests, as far as it can be said without the policies."""
    try:
        _cases(settings, None)
    except SettingsInvalid as error:
        return error.problems
    return ()


def _documents(settings: Settings) -> tuple[Document, ...]:
    """The test files, in the order of their names; that there is nothing else beside them the loading has checked."""
    folder = settings.policy.folder / TESTS
    files = sorted(folder.glob("*.yaml")) if folder.is_dir() else []
    found: list[Document] = []
    problems: list[Problem] = []
    for file in (each for each in files if not each.name.startswith(".")):
        try:
            found.append(parse(str(file), file.read_bytes()))
        except SettingsInvalid as error:
            problems += error.problems
        except OSError as error:
            problems.append(Problem(str(file), 0, 0, f"cannot be read: {error.strerror}"))
    if problems:
        raise SettingsInvalid(tuple(problems), hint=HINT)
    return tuple(found)


def _findings(
    settings: Settings, book: Book, recorded: Usage | None, tests: Usage, inventory: Inventory | None
) -> Iterable[Finding]:
    rules = tuple(_rules(settings, book))
    yield from idle(rules, recorded, tests)
    if recorded is not None:
        yield from wider(rules, recorded, settings.estate, actions(), inventory)
    if inventory is not None:
        roles, others = _given_by_others(settings)
        yield from unknown(rules, inventory, roles, others=others)
        yield from nested(rules, inventory)


def _rules(settings: Settings, book: Book) -> Iterator[Rule]:
    """Each policy and obligation with its place: of the very texts that the book was made of."""
    names = {path: str(settings.policy.folder / path) for path in book.texts}
    folder = Folder(dict(book.texts), names)
    yield from _placed(folder.policies, book.engine_set.whole, obliges=False)
    if book.obligations is not None:
        yield from _placed(folder.obligations, book.obligations.whole, obliges=True)


def _placed(files: tuple[PolicyFile, ...], whole: PolicySet, *, obliges: bool) -> Iterator[Rule]:
    trees = whole.to_pst().static_policies
    statements = (statement for file in files for statement in file.statements())
    for index, statement in enumerate(statements):
        name = f"policy{index}"  # as the engine counts them, in the order of the files
        yield Rule(name, Policy(statement, trees[name]), obliges)


def _given_by_others(settings: Settings) -> tuple[frozenset[str], bool]:
    """Roles that `remit.yaml` gives to whom Entra does not know, and whether another provider brings groups."""
    who = settings.identity
    rules = [one.roles for one in who.oidc] + [one.roles for one in who.saml] + [one.roles for one in who.providers]
    claims = [one.groups_claim for one in who.oidc] + [one.groups_attribute for one in who.saml]
    claims += [one.groups_claim for one in who.providers]
    return frozenset(rule.role for found in rules for rule in found), any(claims)


def _state(settings: Settings, firings: Firings, since: int) -> tuple[Usage | None, Inventory | None]:
    """What the state database holds: nothing, where no installation ever ran."""
    if not evidence.begun(settings):
        return None, None
    with evidence.reading(settings) as engine:
        decisions = Decisions(engine, since=since)
        usage = look(firings, _asked(decisions))
        usage.failed += sum(count for why, count in decisions.left.items() if why not in _NEVER_DECIDED)
        return usage, _inventory(settings, engine)


def _inventory(settings: Settings, engine: Engine) -> Inventory | None:
    """The directory as the arbiter last read it, `None` where it never did."""
    try:
        return KeptInventory(settings.identity.entra.tenant, engine, engine).inventory()
    except Refused:
        return None


def _asked(decisions: Decisions) -> Iterator[Asked]:
    for batch in decisions.batches():
        for past in batch:
            try:
                taken = past.taken_on()
            except FactsUnreadable:
                decisions.left[Left.UNREADABLE] += 1
                continue
            yield taken.identity, taken.request, taken.circumstances


def _invalid(problems: Iterable[Problem], hint: str) -> tuple[Finding, ...]:
    return tuple(Finding(Severity.ERROR, Kind.INVALID, problem, hint=hint) for problem in problems)


def _place(finding: Finding) -> tuple[str, int, int]:
    return finding.problem.file, finding.problem.line, finding.problem.column
