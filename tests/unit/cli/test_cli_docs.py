"""The documentation is true: every command parses, every remit.yaml is accepted, every key is explained."""

import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

import click
import pytest
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from remit.cli import remit
from remit.model.reasons import Reason
from remit.settings.read import read
from remit.settings.schema import RemitYaml

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples" / "contoso" / "remit.yaml"
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
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
            yield from text.splitlines()


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


@pytest.mark.parametrize("line", ["remit revoke dana", "remit login --saml", "true && remit audit prove"])
def test_the_check_finds_a_command_and_an_option_that_do_not_exist(line: str) -> None:
    [arguments] = commands(line)
    with pytest.raises(click.UsageError):
        parse(arguments)


def test_every_file_that_is_linked_is_there() -> None:
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), f"{document.name} links to `{target}`"


def test_every_refusal_that_is_quoted_is_one(subtests: pytest.Subtests) -> None:
    text = (ROOT / "docs" / "data-scientists.md").read_text(encoding="utf-8")
    quoted = [cell for row in re.findall(r"^\| (`.*?`) \|", text, re.MULTILINE) for cell in re.findall("`(.*?)`", row)]
    assert len(quoted) > 8
    known = {reason.sentence for reason in Reason}
    source = "".join(
        path.read_text(encoding="utf-8")
        for folder in ("sdk", "gateway/lua")
        for path in (ROOT / "src" / "remit" / folder).iterdir()
        if path.is_file()
    )
    for sentence in quoted:
        with subtests.test(sentence):
            assert any(one.startswith(sentence) for one in known) or f'"{sentence}"' in source


# remit.yaml


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_every_remit_yaml_that_is_shown_is_accepted(document: Path, tmp_path: Path) -> None:
    for language, text in fences(document):
        if language != "yaml":
            continue
        shown = yaml.safe_load(text)
        if text.startswith("# excerpt\n"):
            shown = merged(yaml.safe_load(EXAMPLE.read_text(encoding="utf-8")), shown)
        (tmp_path / "remit.yaml").write_text(yaml.safe_dump(shown), encoding="utf-8")
        read(tmp_path / "remit.yaml")


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
                assert default == f"`{written}`", f"`{key}` has the default `{written}`"
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
        name = "PROJECT" if key.endswith("ENVIRONMENT") else "ENVIRONMENT"
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
