"""Where a browser goes after it signed in: a path on our own origin, or the account page.

The narrow way round (RFC 9700 section 4.11): not "is this address harmless in every browser" but "is it one of the
few forms that every parser reads alike". One leading slash, segments of plain characters, no dot segments, no empty
segments, percent-escapes only of what cannot mean anything to a path, a query of the query's own characters; whatever
else comes, however harmless it may be, becomes `FALLBACK`. Leaves out: other origins, all of them.
Sources: RFC 3986 section 3.3, url.spec.whatwg.org "URL parsing".
"""

import re
from urllib.parse import unquote_to_bytes

FALLBACK = "/account"
MAX_ADDRESS = 1024  # characters: it travels in a cookie, which holds 4096 in all

_FORM = re.compile(
    r"""
    ((?:/(?:[A-Za-z0-9_.~:@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+)*/?)   # the path
    (?:\?((?:[A-Za-z0-9_.~:@!$&'()*+,;=/?-]|%[0-9A-Fa-f]{2})*))?  # the query
    """,
    re.VERBOSE,
)
_DOTS = frozenset({".", ".."})
# what a second decoder could take for structure: separators, the escape itself, what ends a line
_MEANING = re.compile(rb"[/\\%?#\x00-\x20\x7f]")
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_LOOPS = ("/sign-in", "/sign-out")


def return_address(wanted: str) -> str:
    """The address itself when it is plainly a path of ours, else `FALLBACK`."""
    form = _FORM.fullmatch(wanted) if len(wanted) <= MAX_ADDRESS else None
    return wanted if form and form[1] and _plain(form[1], form[2] or "") else FALLBACK


def _plain(path: str, query: str) -> bool:
    if _CONTROL.search(unquote_to_bytes(query)):
        return False
    if any(path == start or path.startswith(f"{start}/") for start in _LOOPS):
        return False
    return all(_plain_segment(segment) for segment in path.split("/"))


def _plain_segment(segment: str) -> bool:
    escaped = b"".join(unquote_to_bytes(escape) for escape in re.findall(r"%..", segment))
    name = unquote_to_bytes(segment).partition(b";")[0].decode("utf-8", "replace")
    return not _MEANING.search(escaped) and name not in _DOTS and "\N{REPLACEMENT CHARACTER}" not in name
