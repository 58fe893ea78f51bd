"""Stands in the PYTHONPATH of a run: notes every file that a Python process opens for writing, moves or removes.

What is to be removed or moved is looked at just before, since nobody could afterwards. Lines of JSON in `WATCH_LOG`.
"""

import json
import os
import re
import sys
import threading

TOKEN = re.compile(rb"eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]*|ya29\.[\w.-]{8,}")
# Within an audit hook as little is called as can be.
# ruff: noqa: PTH100, PTH113, PTH115, PTH117, PTH118
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC
_busy = threading.local()  # the hook's own events are none


def holds(path):
    """Whether a file holds a token."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        content = b""
        while block := os.read(descriptor, 1 << 20):
            content += block
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return bool(TOKEN.search(content))


def _path(path, folder=-1):
    text = os.fsdecode(path)
    if isinstance(folder, int) and folder >= 0 and not os.path.isabs(text):
        text = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), text)
    return os.path.abspath(text)


def _seen(event, arguments):
    if event == "open":
        path, mode, flags = arguments
        wanted = isinstance(path, str | bytes | os.PathLike)
        if wanted and (set(mode or "") & set("wax+") or (flags or 0) & _WRITING):
            yield "write", _path(path)
    elif event == "os.remove":
        yield "remove", _path(*arguments)
    elif event == "os.rename":
        source, _target, folder, _other = arguments
        yield "rename", _path(source, folder)


def _hook(event, arguments):
    if event not in {"open", "os.remove", "os.rename"} or getattr(_busy, "now", False):
        return
    _busy.now = True
    try:
        for what, path in _seen(event, arguments):
            found = what != "write" and os.path.isfile(path) and holds(path)
            line = {"pid": os.getpid(), "what": what, "path": path, "token": found}
            os.write(_log, json.dumps(line).encode() + b"\n")
    finally:
        _busy.now = False


if "WATCH_LOG" in os.environ:
    _log = os.open(os.environ["WATCH_LOG"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    sys.addaudithook(_hook)
