"""Findings that are known: a file of fingerprints, so that a pipeline fails for new ones only.

The file holds no secret and confirms no guess (`finding.py`); it may be committed. Source of the idea: detect-secrets'
`.secrets.baseline`, whose SHA-1 digests are not taken here, since they can be guessed against.
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path

from remit.model.errors import RemitError
from remit.scan.finding import Finding

_FORM = "remit-scan/1"
_HINT = "`remit scan PATH --baseline FILE --write-baseline` makes one"
_LARGEST = 64 * 2**20  # bytes: a million findings have less


def known(file: Path) -> frozenset[str]:
    """The fingerprints of a baseline."""
    try:
        if file.stat().st_size > _LARGEST:
            raise RemitError(f"`{file}` is too large for a baseline", hint=_HINT)
        document = json.loads(file.read_bytes())
        if document["form"] != _FORM:
            raise RemitError(f"`{file}` is no baseline of `remit scan`", hint=_HINT)
        prints = [row["fingerprint"] for row in document["findings"]]
    except OSError as error:
        raise RemitError(f"`{file}` cannot be read: {error.strerror}", hint=_HINT) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RemitError(f"`{file}` is no baseline of `remit scan`", hint=_HINT) from error
    if not all(isinstance(each, str) and each for each in prints):
        raise RemitError(f"`{file}` is no baseline of `remit scan`", hint=_HINT)
    return frozenset(prints)


def write(file: Path, findings: Iterable[Finding]) -> int:
    """Writes a baseline of these, whole or not at all; how many it holds."""
    rows = {
        one.found.fingerprint: {"fingerprint": one.found.fingerprint, "kind": one.kind.name, "file": one.found.file}
        for one in sorted(
            findings, key=lambda one: (one.found.file, one.found.line, one.found.fingerprint), reverse=True
        )
    }
    ordered = sorted(rows.values(), key=lambda row: (row["file"], row["kind"], row["fingerprint"]))
    text = json.dumps({"form": _FORM, "findings": ordered}, indent=1) + "\n"
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(file)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise RemitError(f"`{file}` cannot be written: {error.strerror}") from error
    return len(ordered)
