"""One project for one user at a time: who may begin a run beside whom, and that a crash frees the place."""

import signal
import subprocess
import sys

import pytest

from remit.model.errors import RemitError
from remit.sdk.places import taken

HOLD = """
import sys, time
from pathlib import Path
from remit.sdk.places import taken
with taken(sys.argv[1], sys.argv[2], Path(sys.argv[3])):
    print("taken", flush=True)
    sys.stdin.read()
"""


def holding(project, job, folder):
    words = [sys.executable, "-c", HOLD, project, job, str(folder)]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "taken\n"
    return process


def ended(process):
    process.stdin.close()
    process.wait(20)
    process.stdout.close()


@pytest.mark.promise("T10")
def test_a_second_project_waits_and_the_same_one_may_run_many_times(tmp_path):
    first = holding("fraud", "j-1", tmp_path)
    second = holding("fraud", "j-2", tmp_path)
    try:
        with taken("fraud", "j-3", tmp_path), pytest.raises(RemitError) as caught, taken("risk", "j-4", tmp_path):
            pass
        assert caught.value.message == "a run of yours in another project, `fraud`, lasts: j-1"
        assert "`remit revoke j-1`" in caught.value.hint
        ended(first)
        with pytest.raises(RemitError, match="`fraud`"), taken("risk", "j-4", tmp_path):
            pass  # the second still lasts
    finally:
        ended(second)
    with taken("risk", "j-4", tmp_path), pytest.raises(RemitError, match="`risk`"), taken("fraud", "j-5", tmp_path):
        pass


def test_a_run_that_was_killed_leaves_no_lock(tmp_path):
    first = holding("fraud", "j-1", tmp_path)
    first.send_signal(signal.SIGKILL)
    first.wait(20)
    first.stdin.close()
    first.stdout.close()
    with taken("risk", "j-2", tmp_path):
        assert (tmp_path / "run.lock").stat().st_mode & 0o777 == 0o600


def test_many_who_begin_at_once_are_of_one_project(tmp_path):
    words = [sys.executable, "-c", HOLD]
    runs = [
        subprocess.Popen(
            [*words, project, f"j-{index}", str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for index, project in enumerate(["fraud", "risk"] * 4)
    ]
    began = [bool(run.stdout.readline()) for run in runs]
    for run in runs:
        ended(run)
    assert began in ([True, False] * 4, [False, True] * 4)


def test_other_users_and_containers_have_a_place_of_their_own(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    with taken("fraud", "j-1", tmp_path / "a"), taken("risk", "j-2", tmp_path / "b"):
        pass


def test_a_lock_that_is_another_s_file_is_not_followed(tmp_path):
    (tmp_path / "theirs").write_text("precious")
    (tmp_path / "run.lock").symlink_to(tmp_path / "theirs")
    with pytest.raises(RemitError, match="cannot be opened"), taken("fraud", "j-1", tmp_path):
        pass
    assert (tmp_path / "theirs").read_text() == "precious"


def test_a_lock_that_says_nothing_is_no_permission(tmp_path):
    first = holding("fraud", "j-1", tmp_path)
    try:
        (tmp_path / "run.lock").write_text("{")
        with pytest.raises(RemitError, match="`unknown`"), taken("fraud", "j-2", tmp_path):
            pass
    finally:
        ended(first)
