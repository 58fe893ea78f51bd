"""One project for one user at a time: who may begin a run beside whom, wherever each of them keeps its files."""

import contextlib
import hashlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time

import pytest

from remit.model.errors import RemitError
from remit.sdk import places
from remit.sdk.places import taken

HOLD = """
import sys
from remit.sdk.places import taken
with taken(sys.argv[1], sys.argv[2], sys.argv[3]):
    print("taken", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def family():
    """Sockets that no other test sees."""
    return f"remit-test-{secrets.token_hex(4)}"


def begun(project, job, family, *before, **environment):
    words = [*before, sys.executable, "-c", HOLD, project, job, family]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen(words, text=True, env={**os.environ, **environment}, **pipes)


def holding(*arguments, **environment):
    process = begun(*arguments, **environment)
    assert process.stdout.readline() == "taken\n", process.communicate()[1]
    return process


def ended(process):
    process.stdin.close()
    process.wait(60)
    process.stdout.close()
    process.stderr.close()


@pytest.mark.promise("T10")
def test_a_second_project_waits_and_the_same_one_may_run_many_times(family):
    first = holding("fraud", "j-1", family)
    second = holding("fraud", "j-2", family)
    try:
        with taken("fraud", "j-3", family), pytest.raises(RemitError) as caught, taken("risk", "j-4", family):
            pass
        said, job = caught.value.message.rsplit(" ", 1)
        assert said == "a run of yours in another project, `fraud`, lasts:"
        assert job in {"j-1", "j-2", "j-3"}
        assert f"`remit revoke {job}`" in caught.value.hint
        ended(first)
        with pytest.raises(RemitError, match="`fraud`, lasts: j-2"), taken("risk", "j-4", family):
            pass  # the second still lasts
    finally:
        ended(second)
    with taken("risk", "j-4", family), pytest.raises(RemitError, match="`risk`"), taken("fraud", "j-5", family):
        pass


@pytest.mark.promise("T10")
def test_no_variable_and_no_folder_makes_another_place(family, tmp_path):
    for name in ("run", "tmp", "home"):
        (tmp_path / name).mkdir(mode=0o700)
    own = {"XDG_RUNTIME_DIR": tmp_path / "run", "TMPDIR": tmp_path / "tmp", "HOME": tmp_path / "home"}
    moved = {name: str(value) for name, value in own.items()}
    with taken("fraud", "j-1", family):
        elsewhere = begun("risk", "j-2", family, **moved)
        out, err = elsewhere.communicate(timeout=60)
    assert out == ""
    assert "a run of yours in another project, `fraud`, lasts: j-1" in err
    assert [child for folder in tmp_path.iterdir() for child in folder.iterdir()] == []


def test_a_run_that_was_killed_leaves_no_place(family):
    first = holding("fraud", "j-1", family)
    first.send_signal(signal.SIGKILL)
    first.communicate(timeout=60)
    with taken("risk", "j-2", family):
        pass


def test_a_run_that_is_stopped_still_lasts(family):
    first = holding("fraud", "j-1", family)
    first.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(RemitError, match="`unknown`, lasts: unknown"), taken("risk", "j-2", family):
            pass
        with taken("fraud", "j-3", family):
            pass  # its own project is asked nothing
    finally:
        first.send_signal(signal.SIGCONT)
        ended(first)


def test_many_who_begin_at_once_are_of_one_project(family):
    runs = [begun(project, f"j-{index}", family) for index, project in enumerate(["fraud", "risk"] * 4)]
    began = [bool(run.stdout.readline()) for run in runs]
    for run in runs:
        ended(run)
    assert began in ([True, False] * 4, [False, True] * 4)


def test_who_began_earlier_goes_first(family, monkeypatch):
    """One that stands there with a later rank is waited for: it may have looked before."""
    mark = places._Mark(family, "0" * 32)
    with contextlib.ExitStack() as later:
        later.enter_context(places._listening(mark, "begins", "f" * 24, b"{}"))
        process = begun("fraud", "j-1", family)
        time.sleep(1)
        later.close()
        assert process.stdout.readline() == "taken\n"
        ended(process)
    with places._listening(mark, "begins", "0" * 24, b"{}"):
        monkeypatch.setattr(places, "_PATIENCE", 0.2)
        with pytest.raises(RemitError, match="begins in another project"), taken("fraud", "j-1", family):
            pass


# other users


def _squatted(family, state, *, full):
    """A socket of whoever wants this user's runs refused, named as a run in another project."""
    name = f"\0{family}/{state}/{'0' * 24}/{secrets.token_hex(8)}/{hashlib.sha256(b'risk').hexdigest()[:32]}"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(name)
    listener.listen(0)
    waiting = socket.socket(socket.AF_UNIX)
    if full:
        waiting.connect(name)
    return listener, waiting


@pytest.mark.promise("T10")
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("state", ["begins", "lasts"])
def test_what_another_user_leaves_there_refuses_nobody(family, state, full, monkeypatch):
    monkeypatch.setattr(places, "uid_of", lambda connection: os.getuid() + 1)
    left = [each for _ in range(20) for each in _squatted(family, state, full=full)]
    began = time.monotonic()
    with taken("fraud", "j-1", family):
        assert time.monotonic() - began < 60  # one wait for all of them, and not one for each
    for one in left:
        one.close()


@pytest.mark.promise("T10")
def test_another_user_of_this_machine_stands_apart(family):
    root = ["sudo", "-n", "-E"] if os.getuid() else []
    stranger = ["setpriv", "--reuid=65501", "--regid=65501", "--clear-groups"]
    stranger += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    with taken("fraud", "j-1", family):
        ended(holding("risk", "j-2", family, *root, *stranger))
    other = holding("risk", "j-2", family, *root, *stranger)
    with taken("fraud", "j-1", family):  # nor does theirs keep this user out
        ended(other)


def test_a_name_with_a_line_end_hides_nothing(family):
    with socket.socket(socket.AF_UNIX) as odd, taken("fraud", "j-1", family):
        odd.bind(f"\0{family}\n0: 0 0 00010000 0001 01 1 @{family}/lasts/\n\xff")
        with pytest.raises(RemitError, match="`fraud`"), taken("risk", "j-2", family):
            pass


@pytest.mark.promise("T10")
def test_what_a_run_says_of_itself_is_no_command_and_draws_nothing(family):
    """One that is root in a container that shares this network is this user, as the kernel sees it."""
    odd = holding("fraud\x1b[2J", "j-1; reboot", family)
    try:
        with pytest.raises(RemitError, match="`unknown`, lasts: unknown") as caught, taken("risk", "j-2", family):
            pass
        assert caught.value.hint.startswith("wait for it, end it with `remit revoke unknown`")
    finally:
        ended(odd)


def test_a_kernel_that_lists_nothing_is_no_permission(family, monkeypatch, tmp_path):
    monkeypatch.setattr(places, "_LISTED", tmp_path / "unix")
    with pytest.raises(RemitError, match="cannot be read"), taken("fraud", "j-1", family):
        pass
