"""XML from strangers: one hardened parser and a few narrow ways to read.

What makes XML dangerous is refused before the parser or switched off in it: document types and so entities and XXE,
other encodings than UTF-8, processing instructions, huge trees, the network. Text is read from elements that hold
text and nothing else, so that a comment can never cut a name short. Sources: OWASP XML External Entity Prevention,
SAML 2.0 core 1.3 (strings, times). Leaves out: what elements mean (`form`, `conditions`, `metadata`).
"""

import re
from datetime import UTC, datetime
from typing import Any

from lxml import etree

ASSERTION = "urn:oasis:names:tc:SAML:2.0:assertion"
METADATA = "urn:oasis:names:tc:SAML:2.0:metadata"
PROTOCOL = "urn:oasis:names:tc:SAML:2.0:protocol"
SIGNATURE = "http://www.w3.org/2000/09/xmldsig#"
ENCRYPTION = "http://www.w3.org/2001/04/xmlenc#"
POST = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"
REDIRECT = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"

MAX_TEXT = 1024  # SAML core 8.3.7 lets names have 256 characters; entity ids 1024 (metadata 2.2.1)

# UTC with a `Z` (core 1.3.3); .NET writes seven digits of a second
_INSTANT = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d{1,9})?Z")

Element = Any  # lxml publishes no types


class Malformed(ValueError):
    """The document is not one that is read here; the message is ours and holds nothing of it."""


def parser() -> Any:
    """A parser that opens nothing, expands nothing and has libxml2's bounds; made anew, since threads share none."""
    return etree.XMLParser(
        encoding="utf-8",
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        attribute_defaults=False,
        huge_tree=False,
        collect_ids=False,
    )


def parse(data: bytes, most: int) -> Element:
    """The root of a document of at most `most` bytes; raises `Malformed`."""
    if len(data) > most:
        raise Malformed(f"is longer than {most} bytes")
    # UTF-8, whatever the document says of itself: this look and the parser's must see the same letters
    if not _is_utf8(data) or b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise Malformed("is not UTF-8, or has a document type")
    try:
        root = etree.fromstring(data, parser=parser())
    except (etree.XMLSyntaxError, ValueError):
        root = None
    if root is None:  # outside the handler, so that no error with a piece of the document is chained to ours
        raise Malformed("is not well-formed XML")
    # the first again, as the parser sees it
    typed = root.getroottree().docinfo.internalDTD is not None
    if typed or any(node.tag in (etree.ProcessingInstruction, etree.Entity) for node in root.iter()):
        raise Malformed("has a document type, a processing instruction or an entity")
    return root


def name(namespace: str, local: str) -> str:
    """An element's name as lxml writes it."""
    return f"{{{namespace}}}{local}"


def one(parent: Element, namespace: str, local: str) -> Element:
    """The only child of this name; raises `Malformed` when there is none, or more than one."""
    child = at_most_one(parent, namespace, local)
    if child is None:
        raise Malformed(f"has no `{local}`")
    return child


def at_most_one(parent: Element, namespace: str, local: str) -> Element | None:
    """The child of this name, if there is one; raises `Malformed` when there are more."""
    children = parent.findall(name(namespace, local))
    if len(children) > 1:
        raise Malformed(f"has more than one `{local}`")
    return children[0] if children else None


def text(element: Element) -> str:
    """The whole text of an element that holds nothing but text; raises `Malformed`, also when it is empty."""
    value = str(element.text or "").strip(" \t\r\n")
    if len(element) or not 0 < len(value) <= MAX_TEXT or not value.isprintable():
        raise Malformed(f"has a `{local_name(element)}` that is not plain text")
    return value


def attribute(element: Element, key: str) -> str:
    """An attribute that must be there; raises `Malformed` when it is absent, empty or unprintable."""
    value = str(element.get(key) or "")
    if not 0 < len(value) <= MAX_TEXT or not value.isprintable():
        raise Malformed(f"has a `{local_name(element)}` without a usable `{key}`")
    return value


def instant(element: Element, key: str) -> int:
    """A time in whole seconds since the epoch; raises `Malformed` for any form but SAML's."""
    found = _INSTANT.fullmatch(attribute(element, key))
    try:
        at = datetime.fromisoformat(found[1]).replace(tzinfo=UTC) if found else None
    except ValueError:
        at = None
    if at is None:
        raise Malformed(f"has a `{key}` that is not a time in UTC")
    return int(at.timestamp())


def maybe_instant(element: Element, key: str) -> int | None:
    """`instant`, or `None` when the attribute is not there."""
    return None if element.get(key) is None else instant(element, key)


def local_name(element: Element) -> str:
    """An element's name without its namespace. Of elements that we asked for by name: a stranger's is not repeated."""
    return str(etree.QName(element).localname)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
