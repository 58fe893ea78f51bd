"""The few questions whose answers make a first remit.yaml, and what counts as an answer."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

_GUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"


class Level(StrEnum):
    """What a role may do at first; each includes those before it."""

    OBSERVE = "observe"
    USE = "use"
    LAUNCH = "launch"


@dataclass(frozen=True, slots=True)
class Question:
    """One question. `name`: of the option; `asked`: of a person; `form`: a pattern of the answer, `says` it in words.

    `default`: the answer when there is none; `many`: whether there may be several; `needed`: whether there must be one;
    `shape`: the form in a word.
    """

    name: str
    asked: str
    form: str
    says: str
    default: str = ""
    many: bool = False
    needed: bool = True
    shape: str = "TEXT"

    def fits(self, answer: str) -> bool:
        """Whether it is an answer."""
        return re.fullmatch(self.form, answer, re.ASCII) is not None


QUESTIONS = (
    Question("tenant", "Entra tenant id", _GUID, "a GUID in lower case"),
    Question("project", "Google Cloud project id", r"[a-z][a-z0-9-]{4,28}[a-z0-9]", "6 to 30 of `a-z`, `0-9`, `-`"),
    Question("number", "its number", r"[1-9][0-9]{5,18}", "digits; the console shows it beside the id"),
    Question("environment", "its environment", r"[a-z][a-z0-9-]{0,31}", "one word, such as `test` or `prod`", "test"),
    Question("location", "where Vertex AI runs", r"global|[a-z]+-[a-z]+[0-9]+", "such as `us-central1`", "us-central1"),
    Question(
        "bucket",
        "a bucket of its training data",
        r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]",
        "a bucket's name without `gs://`",
        many=True,
        needed=False,
    ),
    Question(
        "role",
        "a role, the id of its group, and `observe`, `use` or `launch`",
        rf"[A-Za-z][A-Za-z0-9]{{1,31}}={_GUID}(:(observe|use|launch))?",
        "`NAME=GROUP:observe`, `:use` or `:launch`, GROUP being the group's object id",
        many=True,
        shape="NAME=GROUP:LEVEL",
    ),
    Question(
        "managed-identity",
        "client id of the managed identity that remit runs with",
        _GUID,
        "a GUID in lower case",
    ),
    Question(
        "administrator",
        "who administers the Google Cloud project",
        r"(user|group):[^\sA-Z@:/\"']+@[a-z0-9][a-z0-9.-]*[a-z0-9]",
        "`user:ADDRESS` or `group:ADDRESS`, in lower case",
    ),
    Question(
        "own-issuer",
        "URL of remit as an issuer, for pipelines and other providers",
        r"https://[a-z0-9.-]+(:[0-9]{1,5})?",
        "`https://HOST`",
        needed=False,
    ),
)


@dataclass(frozen=True, slots=True)
class FirstRole:
    """A role, the group (object id) that has it, and what it may do."""

    name: str
    group: str
    level: Level

    @property
    def account(self) -> str:
        """The local part of the service account that it works as: `MLEngineer` becomes `remit-ml-engineer`."""
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", self.name).lower()
        return f"remit-{words}"[:30].rstrip("-")


@dataclass(frozen=True, slots=True)
class Answers:
    """All that a first file is made of; each field is the answer to the question of its name."""

    tenant: str
    project: str
    number: str
    environment: str
    location: str
    buckets: tuple[str, ...]
    roles: tuple[FirstRole, ...]
    managed_identity: str
    administrator: str
    own_issuer: str

    @property
    def domain(self) -> str:
        """The company's domain, by the administrator's address."""
        return self.administrator.rpartition("@")[2]

    def account(self, local: str) -> str:
        """The e-mail address of a service account of the project."""
        return f"{local}@{self.project}.iam.gserviceaccount.com"


def wrong(given: Mapping[str, tuple[str, ...]], questions: Sequence[Question] = QUESTIONS) -> tuple[str, ...]:
    """What is missing among the answers, or is none. `given`: by the name of the question."""
    found = []
    for question in questions:
        answers = given.get(question.name, ())
        if question.needed and not answers and not question.default:
            found.append(f"`--{question.name}` is missing: {question.asked} ({question.says})")
        found += [f"`--{question.name}` is {question.says}, not `{one}`" for one in answers if not question.fits(one)]
    return tuple(found) or _clashing(given.get("role", ()))


def _clashing(given: tuple[str, ...]) -> tuple[str, ...]:
    """Two roles that cannot be told apart, or that would work as one account."""
    roles = [_role(one) for one in given]
    names, accounts = [one.name for one in roles], [one.account for one in roles]
    if len(set(names)) < len(names):
        return ("`--role` names a role twice",)
    if len(set(accounts)) < len(accounts) or {"remit-trainer", "remit-reviewer"} & set(accounts):
        return ("`--role` names roles whose service accounts would have one name; choose other names",)
    return ()


def answers(given: Mapping[str, tuple[str, ...]]) -> Answers:
    """The answers, once nothing is `wrong` with them."""
    single = {one.name: (given.get(one.name) or (one.default,))[0] for one in QUESTIONS if not one.many}
    return Answers(
        tenant=single["tenant"],
        project=single["project"],
        number=single["number"],
        environment=single["environment"],
        location=single["location"],
        buckets=tuple(dict.fromkeys(given.get("bucket", ()))),
        roles=tuple(map(_role, given["role"])),
        managed_identity=single["managed-identity"],
        administrator=single["administrator"],
        own_issuer=single["own-issuer"],
    )


def _role(text: str) -> FirstRole:
    name, _, rest = text.partition("=")
    group, _, level = rest.partition(":")
    return FirstRole(name, group, Level(level or Level.OBSERVE))
