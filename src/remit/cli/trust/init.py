"""`remit trust init`: a first remit.yaml, from a few answers or from what the clouds hold already."""

import asyncio
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from remit.cli.output import emit, json_option, say
from remit.cli.serve import config_option
from remit.model.errors import RemitError
from remit.trust.beginning.answers import QUESTIONS, Question, answers, wrong
from remit.trust.beginning.known import ESTATE

_FROM = "from-clouds"
_ALL = (*QUESTIONS, *(question for question in ESTATE if question not in QUESTIONS))


def _options(function: Callable[..., Any]) -> Callable[..., Any]:
    """An option for each question."""
    for question in reversed(_ALL):
        said = f"{question.asked[:1].upper()}{question.asked[1:]}."
        option = click.option(f"--{question.name}", multiple=question.many, metavar=question.shape, help=said)
        function = option(function)
    return function


@click.command()
@config_option
@_options
@json_option
def command(config: Path, *, as_json: bool, **given: str | tuple[str, ...] | None) -> None:
    """Write a first remit.yaml, with a first policy beside it; or one that describes what the clouds hold already.

    What no option answers is asked on a terminal. Nothing that is there is written over. With `--from-clouds` the
    clouds are read as whoever is signed in with `az` and `gcloud`, and told is what a file cannot say. Go on with
    `remit trust plan`.
    """
    if config.exists():
        raise RemitError(f"`{config}` is there already", hint="name another file with `--config`")
    told = {question.name: _given(given[question.name.replace("-", "_")]) for question in _ALL}
    questions = ESTATE if told[_FROM] else QUESTIONS
    if sys.stdin.isatty() and not as_json:
        told |= {question.name: told[question.name] or tuple(_asked(question)) for question in questions}
    problems = (*wrong(told, questions), *_foreign(told, questions))
    if problems:
        raise RemitError("\n".join(problems), hint="run `remit trust init --help`, or run it on a terminal to be asked")
    written, left = _described(config, told) if questions is ESTATE else (_begun(config, told), ())
    if as_json:
        emit({"file": str(config), "files": list(map(str, written)), "left": list(left)})
        return
    for file in written:
        say(f"wrote `{file}`")
    for one in left:
        say(f"not said in it: {one}")
    say("read them, then run `remit trust plan`: it shows what the clouds lack, and changes nothing")


def _foreign(told: Mapping[str, tuple[str, ...]], questions: Sequence[Question]) -> Iterator[str]:
    """Options that the other way of beginning has."""
    for question in _ALL:
        if told[question.name] and question not in questions:
            yield f"`--{question.name}` {'does not go' if questions is ESTATE else 'goes'} with `--{_FROM}`"


def _given(value: str | tuple[str, ...] | None) -> tuple[str, ...]:
    return value if isinstance(value, tuple) else (value,) if value else ()


def _asked(question: Question) -> Iterable[str]:
    """Asks a person until there is an answer, and for as many as they have where there may be several."""
    say(f"{question.asked} ({question.says})")
    count = 0
    while True:
        again = ", empty for no more" if count else "" if question.needed else ", empty for none"
        answer = click.prompt(
            f"  {question.name}{again}", default=question.default, show_default=bool(question.default), err=True
        )
        answer = answer.strip()
        if not answer and (count or not question.needed):
            return
        if not question.fits(answer):
            say(f"  it must be {question.says}")
            continue
        yield answer
        count += 1
        if not question.many:
            return


def _begun(config: Path, told: Mapping[str, tuple[str, ...]]) -> list[Path]:
    """Writes what is not there: the file, and a policy when there is no folder of policies."""
    from remit.trust.beginning.first import policies, remit_yaml

    given = answers(told)
    folder = config.parent / "policies"
    files = {config: remit_yaml(given)}
    if not (folder.exists() and any(folder.iterdir())):
        folder.mkdir(parents=True, exist_ok=True)
        files[folder / "roles.cedar"] = policies(given)
    for file, text in files.items():
        _write(file, text)
    return list(files)


def _described(config: Path, told: Mapping[str, tuple[str, ...]]) -> tuple[list[Path], tuple[str, ...]]:
    """Writes the file that describes what the clouds hold; also what it cannot say."""
    from remit.assembly.trust_beginning import described
    from remit.trust.beginning.describe import describe
    from remit.trust.beginning.known import known
    from remit.trust.clouds.administrator import Administrator

    settings = known(told)
    found = asyncio.run(described(settings, Administrator(settings.tenant)))
    domain = told["administrator"][0].rpartition("@")[2]
    _write(config, describe(found.settings, f"{domain}/remit"))
    return [config], found.left


def _write(file: Path, text: str) -> None:
    with file.open("x", encoding="utf-8") as opened:
        opened.write(text)
