"""A text as YAML reads it back: as it is where that is safe, else in double quotes."""

import json
import re

_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./@-]*|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_WORDS = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n"})  # YAML 1.1 reads them otherwise


def scalar(text: str) -> str:
    """The text; JSON's escapes are YAML's too."""
    return text if _PLAIN.fullmatch(text) and text.lower() not in _WORDS else json.dumps(text, ensure_ascii=False)
