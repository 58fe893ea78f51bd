"""Policy tests as files: what is given, who does what under which circumstances, and what is expected, and why.

A file is read strictly, and every problem is told with its place: a misspelt word must not turn a test into one that
passes for nothing. What exists nowhere (an action, a resource) is a problem too, unless the test expects just that.
What a file without tests gives, all files have. Leaves out YAML (documents are handed in) and running them (`trial`).
"""

import datetime as dt
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from remit.model.decision import Circumstances
from remit.model.errors import Problem, SettingsInvalid
from remit.model.estate import Estate
from remit.model.grant import Grant, Wanted
from remit.model.identity import Identity
from remit.model.job import NAME
from remit.model.lifetime import ENDING
from remit.model.operation import Asked, Operation, Request, Resource, Work
from remit.model.outcome import Outcome
from remit.model.reasons import Reason
from remit.policy.facts import ACT_AS
from remit.policy.schema import vocabulary
from remit.policy.trials.actors import PERSON, WORKLOAD, Actor, actor
from remit.policy.trials.things import Things, Words
from remit.policy.trials.written import Document, Fields

NOON = int(dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC).timestamp())  # a Thursday: when a test happens that names no time

CASE = ("name", "who", "does", "on", "asked", "with", "also", "expect", "because")
_SURROUNDINGS = (
    "at",
    "peer",
    "country",
    "locations",
    "locations_known",
    "risk",
    "job",
    "job_name",
    "outlived",
    "grant",
)
WITH = (*_SURROUNDINGS, "contexts", "methods", "capabilities", "device", "signed_in", "work", "acts_as", "within")
"""What may be said of a test, and of its circumstances."""

_GIVEN = ("groups", "people", "workloads")
_ALSO = ("does", "on", "within", "work", "asked")
_GRANT = ("does", "on", "approvals", "lasting", "age", "break_glass")
_ASKED = ("does", "by", "lasting", "break_glass")
_RUN = "j-test"
_EMPTY = "the file holds nothing: was it cut off? a file that is not needed is deleted"
HINT = "docs/policy-schema.md explains every word of a policy test"
"""What to do about one that cannot be read."""
_SETS = frozenset({name for name, of in Work.__annotations__.items() if of == frozenset[str]})
_EXPECTED = {
    "permit": Outcome.PERMIT,
    "deny": Outcome.DENY,
    "step-up": Outcome.STEP_UP,
    "approval": Outcome.NEEDS_APPROVAL,
}


@dataclass(frozen=True, slots=True)
class Case:
    """One policy test.

    `place`: where it stands; `challenge`: the context that a step-up must ask for, empty for any; `because`: ids of
    policies and obligations that must be among those that decided, and reasons of the closed list.
    """

    name: str
    place: Problem
    identity: Identity
    request: Request
    circumstances: Circumstances
    outcome: Outcome
    challenge: str
    because: tuple[str, ...]

    @property
    def expected(self) -> str:
        """As the file says it."""
        return said(self.outcome, self.challenge)


@dataclass(frozen=True, slots=True)
class World:
    """What a test may name. `rules`: ids of policies and obligations, `None` when they could not be read."""

    estate: Estate
    words: Words
    rules: Collection[str] | None


def said(outcome: Outcome, challenge: str) -> str:
    """An outcome in the words of a test."""
    word = next(word for word, one in _EXPECTED.items() if one is outcome)
    return f"{word} {challenge}".strip()


def read(documents: Collection[Document], world: World) -> tuple[Case, ...]:
    """The tests of all files, in order; raises `SettingsInvalid` with every problem."""
    problems: list[Problem] = [each.problem((), _EMPTY) for each in documents if not each.value]
    files = [Fields(each, (), each.value, problems, ("given", "tests")) for each in documents]
    shared: dict[str, Actor] = {}
    groups: dict[str, str] = {}
    alone = [each for each in files if "tests" not in each]
    for file in alone:
        _given(file, groups, shared)
    cases: list[Case] = []
    for file in (each for each in files if "tests" in each):
        people = dict(shared)
        _given(file, dict(groups), people)
        faulty = {problem.file for problem in problems}
        whole = faulty.isdisjoint(each.document.file for each in (file, *alone))
        cases += _tests(file, _Reader(world, people, whole=whole), problems)
    if problems:
        raise SettingsInvalid(tuple(problems), hint=HINT)
    return tuple(cases)


def _given(file: Fields, groups: dict[str, str], people: dict[str, Actor]) -> None:
    """Adds what a file gives to what is given already; a name stands for one thing."""
    given = file.fields("given", _GIVEN)
    named = given.fields("groups")
    for name in named:
        found = named.text(name)
        if groups.setdefault(name, found) != found:
            named.complain(name, "is another group already, in a file that gives to all")
    for key, allowed in (("people", PERSON), ("workloads", WORKLOAD)):
        listed = given.fields(key)
        for name in listed:
            if name in people:
                listed.complain(name, "is given already")
            people[name] = actor(name, listed.fields(name, allowed), groups, person=key == "people")


def _tests(file: Fields, reader: "_Reader", problems: list[Problem]) -> Iterator[Case]:
    seen: set[str] = set()
    for test in file.entries("tests", CASE):
        before = len(problems)
        name = test.text("name")
        if not test.raw("name"):
            test.lacks("has no `name`")
        elif name in seen:
            test.complain("name", f"is taken: there is another test `{name}` in this file")
        seen.add(name)
        case = reader.case(name, test)
        if case is not None and len(problems) == before:
            yield case


class _Reader:
    """Reads the tests of one file. `whole`: whether nothing is wrong with what is given, else others may be meant."""

    def __init__(self, world: World, people: Mapping[str, Actor], *, whole: bool) -> None:
        self._world = world
        self._people = people
        self._whole = whole
        self._things = Things(world.estate, world.words)

    def case(self, name: str, test: Fields) -> Case | None:
        """A test, `None` when it does not say who does what."""
        because = self._because(test)
        around = test.fields("with", WITH)
        now = around.moment("at", NOON)
        found = self._somebody(test, "who")
        request = self._request(test, around, because)
        outcome, challenge = _expected(test)
        if found is None or request is None:
            return None
        identity = found.identity(now, around)
        return Case(
            name=name,
            place=test.document.problem(test.path, ""),
            identity=identity,
            request=request,
            circumstances=self._circumstances(around, identity, request, now),
            outcome=outcome,
            challenge=challenge,
            because=because,
        )

    def _somebody(self, test: Fields, key: str) -> Actor | None:
        if key not in test:
            test.lacks(f"does not say who: `{key}`")
            return None
        name = test.text(key)
        if name not in self._people and self._whole and isinstance(test.raw(key), str):
            test.complain(key, f"must name somebody under `people` or `workloads`: `{name}` is nobody there")
        return self._people.get(name)

    def _because(self, test: Fields) -> tuple[str, ...]:
        found = test.texts("because")
        for index, one in enumerate(found):
            rules = self._world.rules
            if rules is not None and one not in rules and one not in set(Reason):
                test.complain_of("because", index, f"`{one}` is no policy, no obligation and no reason")
        return found

    def _request(self, test: Fields, around: Fields, because: tuple[str, ...]) -> Request | None:
        """Every operation: the one of the test, acting as the account that it names, and those under `also`."""
        acts_as = around.text("acts_as")
        first = self._operation(test, because, around, acts_as)
        others = [self._operation(each, because, each, "") for each in test.entries("also", _ALSO)]
        if acts_as:
            account = self._things.account(acts_as)
            if account is None:
                around.complain("acts_as", "is an account of no project in `remit.yaml`")
                return None
            others.append(Operation(self._world.words.action(ACT_AS), (account,)))
        found = [each for each in (first, *others) if each is not None]
        return Request(tuple(found)) if len(found) == 1 + len(others) else None

    def _operation(self, test: Fields, because: tuple[str, ...], around: Fields, acts_as: str) -> Operation | None:
        action = self._things.action(test, unknown=Reason.METHOD_UNKNOWN in because)
        resources, prefix = self._things.part(test, unknown=Reason.RESOURCE_UNKNOWN in because)
        if prefix and "within" in around:
            around.complain("within", "is said already: `on` names what lies below a prefix")
        if action is None or not resources:
            return None
        return Operation(
            action=action,
            resources=resources,
            acts_as=acts_as,
            work=_work(around),
            within=prefix or around.text("within"),
            asked=self._asked(test),
        )

    def _asked(self, test: Fields) -> Asked | None:
        if "asked" not in test:
            return None
        asked = test.fields("asked", _ASKED)
        by = self._somebody(asked, "by")
        action = self._things.action(asked, unknown=False)
        if by is None or action is None:
            return None
        return Asked(action.id, asked.seconds("lasting", 3600), by.principal.key, asked.flag("break_glass"))

    def _circumstances(self, around: Fields, identity: Identity, request: Request, now: int) -> Circumstances:
        return Circumstances(
            now=now,
            peer=around.text("peer"),
            country=_word(around, "country", "Country"),
            locations=frozenset(around.texts("locations")),
            locations_known=around.flag("locations_known", default=True),
            risk=_word(around, "risk", "Risk"),
            job=around.text("job", _RUN if "job_name" in around else ""),
            job_name=_job_name(around),
            outlived=frozenset(_outlived(around)),
            grants=self._grants(around, identity, request.first, now),
        )

    def _grants(self, around: Fields, identity: Identity, first: Operation, now: int) -> tuple[Grant, ...]:
        """The grant that is in force, for what the test does unless it says otherwise."""
        if "grant" not in around:
            return ()
        given = around.fields("grant", _GRANT)
        action = self._things.action(given, unknown=False) if "does" in given else first.action
        resources: tuple[Resource, ...] = first.resources
        if "on" in given:
            resources = self._things.resources(given, unknown=False)
        lasting, age = given.seconds("lasting", 3600), given.seconds("age")
        if action is None or not resources:
            return ()
        wanted = Wanted(
            identity.principal.key,
            action.id,
            resources[0],
            lasting,
            "a policy test",
            break_glass=given.flag("break_glass"),
        )
        grant = Grant("g-test", wanted, now - age, now - age + lasting, given.number("approvals"))
        if not grant.holds(identity.principal.key, around.text("job"), now):
            given.complain("", "is over: it is older than it lasts")
        return (grant,)


def _expected(test: Fields) -> tuple[Outcome, str]:
    word, _, challenge = test.text("expect").partition(" ")
    if word not in _EXPECTED or (challenge and word != "step-up"):
        known = ", ".join(f"`{each}`" for each in _EXPECTED)
        told = f"must say what is expected: {known}, or `step-up c1`"
        if "expect" in test:
            test.complain("expect", told)
        else:
            test.lacks(told)
        return Outcome.DENY, ""
    return _EXPECTED[word], challenge


def _word(around: Fields, key: str, kind: str) -> str:
    """A word of a closed list of the schema. Others are read as unknown, or refused: a test has no use for that."""
    found = around.text(key)
    if found and found not in vocabulary(kind):
        around.complain(key, f"cannot be `{found}`: the schema's `{kind}` has no such word")
    return found


def _outlived(around: Fields) -> Iterator[str]:
    for index, one in enumerate(around.texts("outlived")):
        if one not in ENDING:
            known = ", ".join(f"`{each}`" for each in ENDING)
            around.complain_of("outlived", index, f"`{one}` ends before no work; there are {known}")
        yield one


def _job_name(around: Fields) -> str:
    found = around.text("job_name")
    if found and not NAME.fullmatch(found):
        around.complain("job_name", "is no name of a run: letters, digits, `.`, `_` and `-`, at most 63")
    return found


def _work(around: Fields) -> Work | None:
    """What the launch asks of the cloud, by the names that policies use."""
    if "work" not in around:
        return None
    work = around.fields("work", Work.__annotations__)
    return Work(
        region=work.text("region"),
        accelerator_count=work.number("accelerator_count"),
        replicas=work.number("replicas"),
        duration=work.seconds("duration"),
        interactive=work.flag("interactive"),
        **{name: frozenset(work.texts(name)) for name in _SETS},
    )
