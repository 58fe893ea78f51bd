"""The documentation is true: every command parses, every remit.yaml is accepted, every key is explained."""

import re
import shlex
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

import click
import pytest
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from remit.assembly import policy_check
from remit.cli import remit
from remit.model.reasons import Reason
from remit.settings.read import read
from remit.settings.schema import RemitYaml

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples" / "contoso" / "remit.yaml"
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`(remit(?: [^`]*)?)`")
END = {"|", "&&", ">", ";", "&"}
SHELLS = {"sh", "console"}


def named(path: Path) -> str:
    return path.name


def fences(document: Path) -> list[tuple[str, str]]:
    """Each fenced block of a document: its language and its text."""
    return FENCE.findall(document.read_text(encoding="utf-8"))


def lines(document: Path) -> Iterator[str]:
    """The lines of a document's terminal blocks that are commands."""
    for language, text in fences(document):
        if language == "console":
            yield from (line[2:] for line in text.splitlines() if line.startswith("$ "))
        elif language == "sh":
            yield from text.replace("\\\n", " ").splitlines()


def commands(line: str) -> Iterator[list[str]]:
    """The invocations of `remit` in a line of shell: their arguments."""
    words = shlex.split(line.replace('"$(', " ; ").replace(')"', " ; "), comments=True)
    for index, word in enumerate(words):
        if word == "remit" and (index == 0 or words[index - 1] in END):
            rest = words[index + 1 :]
            yield rest[: next((place for place, one in enumerate(rest) if one in END), len(rest))]


def parse(arguments: list[str]) -> None:
    """Parses a command line as `remit` would, without running it."""
    context, command = remit.make_context("remit", list(arguments)), remit
    while isinstance(command, click.Group):
        if command.invoke_without_command and not context._protected_args and not context.args:
            return  # a group that does something by itself
        _, found, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        assert found is not None
        command = found
        context = found.make_context(str(found.name), rest, parent=context)


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_every_command_that_is_shown_parses(document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "checkpoint").touch()  # `--earlier` wants a file that is there
    for line in lines(document):
        for arguments in commands(line):
            parse(arguments)


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_every_command_that_is_mentioned_exists(document: Path) -> None:
    text = FENCE.sub("", document.read_text(encoding="utf-8"))
    sentences = {reason.sentence for reason in Reason}  # one begins with "remit" as well
    for span in set(SPAN.findall(text)) - sentences:
        for arguments in commands(span):
            try:
                if arguments:
                    parse(arguments)
            except (click.MissingParameter, click.exceptions.NoArgsIsHelpError):
                pass  # a mention need not be whole


@pytest.mark.parametrize("line", ["remit applaud dana", "remit login --saml", "true && remit audit prove"])
def test_the_check_finds_a_command_and_an_option_that_do_not_exist(line: str) -> None:
    [arguments] = commands(line)
    with pytest.raises(click.UsageError):
        parse(arguments)


def test_every_command_is_mentioned(subtests: pytest.Subtests) -> None:
    shown = {tuple(arguments[:3]) for document in DOCUMENTS for arguments in mentioned(document)}
    for path in paths(remit, ()):
        with subtests.test(" ".join(path)):
            assert any(arguments[: len(path)] == path for arguments in shown)


def mentioned(document: Path) -> Iterator[list[str]]:
    """What is invoked in a document, whole or in part, in its terminals and in its sentences."""
    text = FENCE.sub("", document.read_text(encoding="utf-8"))
    for line in (*lines(document), *(span for span in SPAN.findall(text) if "'" not in span)):
        yield from commands(line)


def paths(group: click.Group, above: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Every command that can be invoked: `login`, `audit query`."""
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        if isinstance(found, click.Group):
            yield from paths(found, (*above, name))
        else:
            yield (*above, name)


def test_every_option_of_signing_in_and_revoking_is_mentioned(subtests: pytest.Subtests) -> None:
    text = "".join(document.read_text(encoding="utf-8") for document in DOCUMENTS)
    for name in ("login", "whoami", "revoke"):
        command = remit.get_command(click.Context(remit), name)
        assert command is not None
        for option in (one for parameter in command.params for one in parameter.opts if one.startswith("--")):
            with subtests.test(f"{name} {option}"):
                assert re.search(rf"{re.escape(option)}\b", text)


def test_every_file_and_heading_that_is_linked_is_there() -> None:
    for document in DOCUMENTS:
        for target, place in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", document.read_text(encoding="utf-8")):
            file = document.parent / target if target else document
            assert file.exists(), f"{document.name} links to `{target}`"
            assert not place or place in anchors(file), f"{document.name} links to `{target}#{place}`"


def anchors(document: Path) -> set[str]:
    """The headings of a document as links name them."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", document.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_refusal_that_is_quoted_is_one(subtests: pytest.Subtests) -> None:
    text = (ROOT / "docs" / "data-scientists.md").read_text(encoding="utf-8")
    quoted = [cell for row in re.findall(r"^\| (`.*?`) \|", text, re.MULTILINE) for cell in re.findall("`(.*?)`", row)]
    assert len(quoted) > 8
    known = {reason.sentence for reason in Reason}
    source = "".join(
        path.read_text(encoding="utf-8")
        for folder in ("sdk", "gateway/native")
        for path in (ROOT / "src" / "remit" / folder).iterdir()
        if path.is_file()
    )
    for sentence in quoted:
        with subtests.test(sentence):
            assert any(one.startswith(sentence) for one in known) or f'"{sentence}"' in source


# the checks of identity, and what keeps them

CHECKED = re.compile(r"^\| (.+?) \| (.+?) \| (.+?) \|$", re.MULTILINE)
KEPT = re.compile(r"`(test_[a-z0-9_]+\.py)`")


def checks() -> list[tuple[str, str, str]]:
    """Each row of the tables of docs/identity.md that names a test: the check, its source, what keeps it."""
    text = (ROOT / "docs" / "identity.md").read_text(encoding="utf-8")
    return [row for row in CHECKED.findall(text) if KEPT.search(row[2])]


def test_every_check_has_a_source_and_a_test_that_exists(subtests: pytest.Subtests) -> None:
    there = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    assert len(checks()) > 100
    for check, source, kept in checks():
        with subtests.test(check):
            assert len(source) > 3
            assert set(KEPT.findall(kept)) <= there, f"there is no {kept}"


def test_every_test_that_is_named_is_one(subtests: pytest.Subtests) -> None:
    """A file, and the functions in it without their `test_`; with another file after a semicolon."""
    text = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")}
    for check, _, kept in checks():
        for part in kept.split("; "):
            file, *names = re.findall(r"`([a-z0-9_.]+)`", part)
            for name in names:
                with subtests.test(f"{check}: {name}"):
                    assert re.search(rf"^ *def test_{name}\(", text.get(file, ""), re.MULTILINE)


def test_every_flow_of_the_relying_party_suite_is_in_its_table() -> None:
    source = (ROOT / "tests" / "scripted_provider" / "flows.py").read_text(encoding="utf-8")
    run = set(re.findall(r'"(rp-[^"]+)": (?:Run|refused)\(', source))
    text = (ROOT / "docs" / "identity.md").read_text(encoding="utf-8")
    assert len(run) > 30
    assert not {flow for flow in run if f"`{flow}`" not in text}


# policies


def test_every_word_of_the_context_is_explained() -> None:
    schema = (ROOT / "src" / "remit" / "policy" / "remit.cedarschema").read_text(encoding="utf-8")
    told = schema.partition("type Circumstances = {")[2].partition("\n};")[0]
    words = re.findall(r"^\s+(\w+)\??:", told, re.MULTILINE)
    text = (ROOT / "docs" / "policy.md").read_text(encoding="utf-8")
    assert len(words) > 15
    assert not {word for word in words if not re.search(rf"`(?:context)?[\w.]*\.{word}`", text)} - {
        "authentication",
        "device",
    }


def test_every_tag_of_a_pipeline_is_explained() -> None:
    text = (ROOT / "docs" / "policy.md").read_text(encoding="utf-8")
    source = (ROOT / "src" / "remit" / "identity" / "tokens" / "oidc_kinds.py").read_text(encoding="utf-8")
    kinds = re.findall(
        r"^(?:GITHUB|GITLAB|AZURE_DEVOPS) = _pipeline\((.*?)^    silent", source, re.MULTILINE | re.DOTALL
    )
    assert len(kinds) == 3
    assert not {name for kind in kinds for name in re.findall(r'"(\w+)"', kind) if f"`{name}`" not in text}


# remit.yaml


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_every_remit_yaml_that_is_shown_is_accepted(document: Path, tmp_path: Path) -> None:
    for language, text in fences(document):
        if language != "yaml":
            continue
        shown = yaml.safe_load(text)
        if "tests" in shown:  # policy tests, in a folder of their own
            accepted_as_policy_tests(text, tmp_path)
            continue
        if text.startswith("# excerpt\n"):
            shown = merged(yaml.safe_load(EXAMPLE.read_text(encoding="utf-8")), shown)
        (tmp_path / "remit.yaml").write_text(yaml.safe_dump(shown), encoding="utf-8")
        read(tmp_path / "remit.yaml")


def accepted_as_policy_tests(text: str, folder: Path) -> None:
    """What the page shows passes with Contoso's policies."""
    shutil.copytree(EXAMPLE.parent, folder / "contoso")
    shutil.rmtree(folder / "contoso" / "policies" / "tests")
    (folder / "contoso" / "policies" / "tests").mkdir()
    (folder / "contoso" / "policies" / "tests" / "shown.yaml").write_text(text, encoding="utf-8")
    results = policy_check.tested(read(folder / "contoso" / "remit.yaml")).results
    assert results
    assert [result.case.name for result in results if not result.passed] == []


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Two documents, one laid over the other."""
    result = dict(below)
    for key, value in above.items():
        result[key] = merged(result[key], value) if isinstance(value, Mapping) and key in result else value
    return result


def test_the_whole_example_that_is_shown_is_the_one_that_is_shipped() -> None:
    shown = [text for language, text in fences(ROOT / "docs" / "configuration.md") if language == "yaml"]
    assert shown[-1] == EXAMPLE.read_text(encoding="utf-8")


def test_every_key_is_explained_with_its_default_and_its_bounds() -> None:
    explained = rows()
    known = dict(keys(RemitYaml))
    assert set(explained) - known.keys() == set(), "keys that remit does not know"
    assert known.keys() - set(explained) - groups(known) == set(), "keys that are not explained"
    for key, field in known.items():
        if key in explained:
            form, default, meaning = explained[key]
            assert meaning, key
            assert default.startswith("required") == field.is_required(), f"`{key}` has the default `{default}`"
            if isinstance(field.default, str | int):
                written = str(field.default).lower() if isinstance(field.default, bool) else str(field.default)
                shown = f"`{written}`" if written else "none"
                assert default == shown, f"`{key}` has the default {shown}"
            for bound in bounds(field):
                assert re.search(rf"\b{bound}\b", form), f"`{key}` does not name its bound {bound}"


def rows() -> dict[str, tuple[str, str, str]]:
    """Each key of the tables: its form, its default, its meaning."""
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    found = re.findall(r"^\| `([^`]+)` \| (.*?) \| (.*?) \| (.*?) \|$", text, re.MULTILINE)
    assert len(found) == len({row[0] for row in found}), "a key is explained twice"
    return {key: (form, default, meaning) for key, form, default, meaning in found}


def keys(section: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every key below a section, by its dotted name."""
    for name, field in section.model_fields.items():
        key = f"{prefix}{name}"
        yield key, field
        below, suffix = held(field.annotation, key)
        if below is not None:
            yield from keys(below, f"{suffix}.")


def held(annotation: Any, key: str) -> tuple[type[BaseModel] | None, str]:
    """The section that a key holds, and what stands before its keys."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, key
    if get_origin(annotation) is list:
        return held(get_args(annotation)[0], f"{key}[]")
    if get_origin(annotation) is dict:
        name = {
            "roles": "ROLE",
            "accounts": "ACCOUNT",
            "storage": "STORAGE",
            "databases": "DATABASE",
            "environments": "ENVIRONMENT",
        }.get(key.rpartition(".")[2], "PROJECT")
        return held(get_args(annotation)[1], f"{key}.{name}")
    for one in get_args(annotation):
        if isinstance(one, type) and issubclass(one, BaseModel):
            return one, key
    return None, key


def groups(known: Mapping[str, FieldInfo]) -> set[str]:
    """Keys that only hold other keys: a heading explains them."""
    return {key for key in known if any(other.startswith(f"{key}.") for other in known)}


def bounds(field: FieldInfo) -> Iterator[int]:
    for one in field.metadata:
        for name in ("ge", "le", "min_length", "max_length"):
            value = getattr(one, name, None)
            if value is not None and not (name == "min_length" and field.annotation is str):
                yield value
