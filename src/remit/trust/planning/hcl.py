"""Terraform's language, written: blocks, literals, references. Leaves out everything that no plan needs.

Source: github.com/hashicorp/hcl, hclsyntax/spec.md (identifiers, quoted templates). Whatever stands in a text stays
text: `${` and `%{` would begin an expression, which runs on whoever applies it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

_ESCAPED = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_TEMPLATE = re.compile(r"([$%]*)([$%])\{")
_LAST = re.compile(r"[$%]+\Z")
_BMP = 0xFFFF


@dataclass(frozen=True, slots=True)
class Expression:
    """What is written as it is: a reference, a call. Never out of a file or a cloud."""

    text: str


@dataclass(frozen=True, slots=True)
class Template:
    """A text with expressions in it."""

    parts: tuple[str | Expression, ...]


Literal: TypeAlias = "str | bool | int | Expression | Template | Sequence[Literal] | Mapping[str, Literal]"


@dataclass(frozen=True, slots=True)
class Block:
    """`HEAD LABELS {` attributes and blocks `}`. `about`: a comment above it."""

    head: str
    labels: tuple[str, ...] = ()
    attributes: Mapping[str, Literal] | None = None
    blocks: tuple["Block", ...] = ()
    about: str = ""


def written(blocks: Sequence[Block]) -> str:
    """A file, as `terraform fmt` would leave it."""
    return "\n\n".join("\n".join(_block(block, "")) for block in blocks) + "\n"


def text(value: str) -> str:
    """A quoted text that is nothing but itself."""
    return f'"{_inside(value)}"'


def literal(value: Literal) -> str:
    """Any value on one line."""
    if isinstance(value, bool | int):
        return str(value).lower()
    if isinstance(value, str):
        return text(value)
    if isinstance(value, Expression):
        return value.text
    if isinstance(value, Template):
        return f'"{"".join(map(_part, value.parts))}"'
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{text(name)} = {literal(value[name])}" for name in sorted(value)) + " }"
    return f"[{', '.join(map(literal, value))}]"


def _part(part: str | Expression) -> str:
    """Of a template. A `$` before an expression would make it a text, and is written by its number."""
    if isinstance(part, Expression):
        return f"${{{part.text}}}"
    return _LAST.sub(lambda found: "".join(map(_number, found[0])), _inside(part))


def _inside(value: str) -> str:
    """In `$${` all but the last `$` are written by their number: two of them would be read as one."""
    escaped = "".join(_ESCAPED.get(letter) or _shown(letter) for letter in value)
    return _TEMPLATE.sub(lambda found: f"{''.join(map(_number, found[1]))}{found[2]}{found[2]}{{", escaped)


def _shown(letter: str) -> str:
    return letter if letter.isprintable() else _number(letter)


def _number(letter: str) -> str:
    return f"\\U{ord(letter):08x}" if ord(letter) > _BMP else f"\\u{ord(letter):04x}"


def _block(block: Block, indent: str) -> Iterator[str]:
    if block.about:
        yield f"{indent}# {''.join(letter if letter.isprintable() else ' ' for letter in block.about)}"
    head = " ".join([block.head, *map(text, block.labels)])
    attributes = block.attributes or {}
    if not attributes and not block.blocks:
        yield f"{indent}{head} {{}}"
        return
    yield f"{indent}{head} {{"
    yield from _attributes(attributes, f"{indent}  ")
    for number, inner in enumerate(block.blocks):
        if number or attributes:
            yield ""
        yield from _block(inner, f"{indent}  ")
    yield f"{indent}}}"


def _attributes(attributes: Mapping[str, Literal], indent: str) -> Iterator[str]:
    """Equals signs stand below each other, among neighbours of one line each."""
    run: list[tuple[str, str]] = []
    for name, value in attributes.items():
        lines = _lines(value, indent)
        if len(lines) == 1:
            run.append((name, lines[0]))
            continue
        yield from _aligned(run, indent)
        run = []
        yield f"{indent}{name} = {lines[0]}"
        yield from lines[1:]
    yield from _aligned(run, indent)


def _aligned(run: list[tuple[str, str]], indent: str) -> Iterator[str]:
    width = max((len(name) for name, _ in run), default=0)
    for name, value in run:
        yield f"{indent}{name:{width}} = {value}"


def _lines(value: Literal, indent: str) -> list[str]:
    if isinstance(value, Mapping) and value:
        names = {name: text(name) for name in sorted(value)}
        width = max(map(len, names.values()))
        return ["{", *(f"{indent}  {names[name]:{width}} = {literal(value[name])}" for name in names), f"{indent}}}"]
    if isinstance(value, Sequence) and not isinstance(value, str) and len(value) > 1:
        return ["[", *(f"{indent}  {literal(each)}," for each in value), f"{indent}]"]
    return [literal(value)]
