"""What only the history has: commits, branches, sub-repositories, bare and shallow ones, and hostile ones."""

import os
import random
import shutil
import string
import subprocess
from pathlib import Path

import pytest

from remit.model.errors import RemitError
from remit.scan.search import Asked, Search


def token(seed):
    return "ghp_" + "".join(random.Random(seed).choices(string.ascii_letters, k=36))


def git(folder, *words):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    people = {f"GIT_{who}_{what}": "x@x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    alone = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    command = ["git", "-c", "init.defaultBranch=main", "-c", "protocol.file.allow=always", "-C", str(folder), *words]
    done = subprocess.run(
        command, env=environment | people | alone, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def commit(folder, name, text, message="a change"):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    git(folder, "add", "-f", "-A")
    git(folder, "commit", "-q", "-m", message)
    return git(folder, "rev-parse", "HEAD")


def scan(*paths, **asked):
    return Search(Asked(tuple(map(Path, paths)), **asked)).report()


def found(report):
    return [(one.found.file.rpartition("/")[2], one.found.line, one.commit, one.present) for one in report.findings]


@pytest.fixture
def repository(tmp_path):
    """A file came with a token, got another line, and lost the token."""
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "-q")
    first = commit(folder, "run.py", f"a\nt = '{token(1)}'\n")
    commit(folder, "run.py", f"a\nb\nt = '{token(1)}'\n")
    last = commit(folder, "run.py", "a\n")
    return folder, first, last


@pytest.mark.promise("V16")
def test_a_key_that_was_deleted_is_found_with_the_commit_that_brought_it(repository):
    folder, first, _ = repository
    report = scan(folder)
    assert [row[2:] for row in found(report)] == [(first, False)]
    assert report.unread == []
    assert found(scan(folder, history=False)) == []


@pytest.mark.promise("V16")
def test_what_is_there_still_is_found_once_in_the_tree(repository):
    folder, *_ = repository
    commit(folder, "run.py", f"t = '{token(1)}'\n")
    assert found(scan(folder)) == [("run.py", 1, "", True)]


@pytest.mark.promise("V16")
def test_branches_tags_stashes_merges_and_messages_are_read(repository):
    folder, *_ = repository
    git(folder, "checkout", "-q", "-b", "side")
    commit(folder, "side.py", token(2))
    git(folder, "checkout", "-q", "main")
    commit(folder, "b.txt", "x", f"use {token(3)}")
    git(folder, "tag", "-a", "v1", "-m", f"with {token(4)}")
    (folder / "b.txt").write_text(token(5))
    git(folder, "stash", "-q")
    git(folder, "merge", "-q", "--no-commit", "side")
    merged = commit(folder, "evil.txt", token(6), "merge")
    git(folder, "rm", "-q", "evil.txt", "side.py")
    git(folder, "commit", "-q", "-m", "gone")
    rows = found(scan(folder))
    names = sorted(row[0] for row in rows)
    assert names == ["(message of a commit)", "(message of a tag)", "b.txt", "evil.txt", "run.py", "side.py"]
    assert ("evil.txt", 1, merged, False) in rows


@pytest.mark.promise("V16")
def test_since_a_commit_or_a_time(repository):
    folder, _, last = repository
    newest = commit(folder, "later.txt", token(7))
    git(folder, "rm", "-q", "later.txt")
    git(folder, "commit", "-q", "-m", "gone")
    assert [row[2] for row in found(scan(folder, since=last))] == [newest]
    assert len(found(scan(folder, since="2020-01-01", moment=1577836800))) == 2
    assert found(scan(folder, since="2099-01-01", moment=4070908800)) == []
    with pytest.raises(RemitError, match="neither a commit nor a time"):
        scan(folder, since="--output=x")


@pytest.mark.promise("V16")
def test_part_of_a_repository_and_repositories_in_one(repository, tmp_path):
    folder, *_ = repository
    commit(folder, "part/a.txt", token(8))
    git(folder, "rm", "-q", "part/a.txt")
    git(folder, "commit", "-q", "-m", "gone")
    (folder / "part").mkdir()
    assert [row[0] for row in found(scan(folder / "part"))] == ["a.txt"]
    inner = tmp_path / "inner"
    inner.mkdir()
    git(inner, "init", "-q")
    commit(inner, "i.txt", token(9))
    commit(inner, "i.txt", "")
    git(folder, "submodule", "add", "-q", str(inner), "sub")
    assert "i.txt" in [row[0] for row in found(scan(folder))]
    shutil.rmtree(folder / "sub")
    assert "i.txt" in [row[0] for row in found(scan(folder))]


@pytest.mark.promise("V16")
def test_bare_and_shallow_ones(repository, tmp_path):
    folder, first, _ = repository
    bare, shallow = tmp_path / "bare.git", tmp_path / "shallow"
    git(tmp_path, "clone", "-q", "--bare", str(folder), str(bare))
    assert [row[2] for row in found(scan(bare))] == [first]
    git(tmp_path, "clone", "-q", "--depth", "1", f"file://{folder}", str(shallow))
    report = scan(shallow)
    assert found(report) == []
    assert any("is shallow" in note for note in report.notes)


@pytest.mark.promise("V16")
def test_a_repository_runs_nothing_and_cannot_lead_elsewhere(repository, monkeypatch, tmp_path):
    folder, first, _ = repository
    ran = tmp_path / "ran"
    evil = tmp_path / "evil.sh"
    evil.write_text(f"#!/bin/sh\necho $0 >> {ran}\nexit 1\n")
    evil.chmod(0o755)
    (folder / ".gitattributes").write_text("* diff=evil filter=evil\n")
    commit(folder, "c.txt", "c")
    for name in (
        "core.fsmonitor",
        "core.sshCommand",
        "core.pager",
        "core.editor",
        "core.askPass",
        "diff.external",
        "diff.evil.command",
        "diff.evil.textconv",
        "filter.evil.smudge",
        "filter.evil.clean",
        "gpg.program",
        "uploadpack.packObjectsHook",
        "core.alternateRefsCommand",
        "credential.helper",
        "pager.rev-list",
        "alias.rev-list",
    ):  # fmt: skip - a list of words
        git(folder, "config", name, f"!{evil}" if name.startswith(("cred", "alias")) else str(evil))
    git(folder, "config", "log.showSignature", "true")
    git(folder, "config", "core.hooksPath", str(tmp_path))
    git(folder, "config", "remote.origin.url", f"ext::{evil}")
    git(folder, "config", "remote.origin.promisor", "true")
    git(folder, "config", "protocol.ext.allow", "always")
    git(folder, "config", "extensions.partialClone", "origin")
    git(folder, "config", "core.repositoryFormatVersion", "1")
    blob = git(folder, "rev-parse", "HEAD:c.txt")
    (folder / ".git" / "objects" / blob[:2] / blob[2:]).unlink()  # a promised object that is not here
    for name, value in {
        "GIT_DIR": "/nowhere",
        "GIT_EXTERNAL_DIFF": str(evil),
        "GIT_TRACE": "1",
        "GIT_PAGER": str(evil),
    }.items():
        monkeypatch.setenv(name, value)
    report = scan(folder)
    assert [row[2] for row in found(report)] == [first]
    assert any("partial clone" in note for note in report.notes)
    assert not ran.exists()


@pytest.mark.promise("V16")
def test_replacements_and_grafts_hide_nothing(repository):
    folder, first, last = repository
    second = git(folder, "rev-parse", f"{last}~1")
    git(folder, "replace", "--graft", last)
    (folder / ".git" / "info").mkdir(exist_ok=True)
    (folder / ".git" / "info" / "grafts").write_text(f"{last}\n{second}\n")
    assert [row[2] for row in found(scan(folder))] == [first]


@pytest.mark.promise("V16")
def test_a_broken_history_is_an_error(repository):
    folder, *_ = repository
    tree = git(folder, "rev-parse", "HEAD~1^{tree}")
    (folder / ".git" / "objects" / tree[:2] / tree[2:]).unlink()
    report = scan(folder)
    assert report.unread
    (folder / ".git" / "HEAD").write_text("nonsense")
    assert scan(folder).unread == ["git cannot read `repository`"]


@pytest.mark.promise("V16")
@pytest.mark.parametrize("place", ["packed-refs", "objects/pipe"])
def test_a_pipe_in_a_repository_is_not_waited_for(repository, place):
    folder, *_ = repository
    os.mkfifo(folder / ".git" / place)
    report = scan(folder)
    assert report.unread == ["git cannot read `repository`: it holds a pipe or a device"]


def test_without_git_it_is_said(repository, monkeypatch):
    folder, *_ = repository
    monkeypatch.setenv("PATH", "/nowhere")
    assert scan(folder).notes == ["the history was not scanned: there is no `git` here"]


@pytest.mark.promise("V16")
def test_many_objects_are_shared_among_processes(repository):
    folder, first, _ = repository
    for number in range(5):
        (folder / f"{number}.txt").write_text(f"{number} words\n" * (400_000))
    (folder / "5.txt").write_text("x\n" * (3 << 20) + token(10))
    commit(folder, "6.txt", "")
    report = scan(folder, workers=2)
    assert found(report) == [("5.txt", (3 << 20) + 1, "", True), ("run.py", 2, first, False)]
    assert report.unread == []
