"""The policies of a revision: read from a real git repository, whole, without touching it."""

import shutil
import subprocess

import pytest

from remit.model.errors import RemitError
from remit.policy.edits.history import Differences, at_revision, differences, put
from remit.policy.source import Folder

A = '@id("a")\n@purpose("p")\npermit (principal, action, resource);\n'
B = '@id("b")\n@purpose("p")\n@refusal("no")\nforbid (principal, action, resource);\n'


class Repository:
    def __init__(self, folder):
        self.folder = folder
        self.policies = folder / "ops" / "policies"
        self.policies.mkdir(parents=True)
        self("init", "--quiet", "--initial-branch=main")

    def __call__(self, *words):
        who = ("-c", "user.name=Pat", "-c", "user.email=pat@contoso.example", "-c", "commit.gpgsign=false")
        done = subprocess.run(("git", "-C", str(self.folder), *who, *words), check=True, capture_output=True, text=True)
        return done.stdout

    def commit(self, message="m", **texts):
        for name, text in texts.items():
            put(self.policies, name.replace("__", "/") + ".cedar", text.encode())
        self("add", "--all")
        self("commit", "--quiet", "--message", message)


@pytest.fixture
def repository(tmp_path):
    return Repository(tmp_path / "repository")


def test_a_revision_is_read_whole_and_nothing_is_touched(repository):
    repository.commit(a=A, obligations__b=B)
    repository("tag", "v1")
    repository.commit(a=A.replace("action", 'action in Action::"use"'))
    (repository.policies / "a.cedar").write_text("half writ")
    before = sorted((each, each.stat().st_mtime_ns) for each in repository.folder.rglob("*"))
    found = at_revision(repository.policies, "v1")
    assert found.texts == {"a.cedar": A, "obligations/b.cedar": B}
    assert found.problems == []
    assert found.names["a.cedar"] == "v1:policies/a.cedar"
    assert at_revision(repository.policies, "HEAD").texts["a.cedar"] != A
    assert at_revision(repository.policies, "main~1").version == found.version
    assert sorted((each, each.stat().st_mtime_ns) for each in repository.folder.rglob("*")) == before


def test_what_an_archive_would_leave_out_or_rewrite_is_read_as_it_is(repository):
    """`git archive` drops what `export-ignore` says: a forbid would vanish from one of the two sets."""
    (repository.folder / ".gitattributes").write_text("b.cedar export-ignore\n*.cedar export-subst\n")
    repository.commit(a=A + "// $Format:%H$\n", b=B)
    assert at_revision(repository.policies, "HEAD").texts == {"a.cedar": A + "// $Format:%H$\n", "b.cedar": B}


def test_a_folder_is_held_to_the_same_rules_at_every_revision(repository):
    put(repository.policies, "guards.ceder", B.encode())
    repository.commit(a=A)
    [problem] = at_revision(repository.policies, "HEAD").problems
    assert problem.file == "HEAD:policies/guards.ceder"
    assert "not a policy file" in problem.message


@pytest.mark.parametrize("whole", [False, True], ids=["as in a hook", "another repository"])
def test_the_folder_says_which_repository_is_meant_and_not_the_environment(repository, tmp_path, monkeypatch, whole):
    """Git tells its hooks of the repository by variables: they would hold for a folder of another one too."""
    repository.commit(a=A)
    other = Repository(tmp_path / "other")
    other.commit(a=A, b=B)
    monkeypatch.setenv("GIT_DIR", str(other.folder / ".git") if whole else ".git")
    monkeypatch.setenv("GIT_WORK_TREE", str(other.folder if whole else "."))
    monkeypatch.setenv("GIT_INDEX_FILE", ".git/index")
    found = at_revision(repository.policies, "HEAD")
    assert (found.texts, found.problems) == ({"a.cedar": A}, [])


def test_what_stands_in_for_a_content_is_not_read(repository):
    repository.commit(a=A, b=B)
    blob = repository("rev-parse", "HEAD:ops/policies/b.cedar").strip()
    repository("replace", blob, repository("rev-parse", "HEAD:ops/policies/a.cedar").strip())
    assert at_revision(repository.policies, "HEAD").texts == {"a.cedar": A, "b.cedar": B}


def test_names_with_blanks_quotes_and_letters_are_files(repository):
    name = 'ä "b" c'
    repository.commit(**{name: A})
    assert at_revision(repository.policies, "HEAD").texts == {f"{name}.cedar": A}


def test_a_link_is_not_followed(repository):
    repository.policies.joinpath("b.cedar").symlink_to("/etc/passwd")
    repository.commit(a=A)
    with pytest.raises(RemitError, match=r"`b.cedar` is a link"):
        at_revision(repository.policies, "HEAD")


@pytest.mark.parametrize("revision", ["nowhere", "--help", "--output=x", "-h", "", "HEAD:ops", "HEAD..HEAD", "HEAD\n"])
def test_what_is_no_revision_is_refused(repository, revision):
    repository.commit(a=A)
    with pytest.raises(RemitError, match="is neither a folder nor a revision") as error:
        at_revision(repository.policies, revision)
    assert "a branch, a tag or a commit" in error.value.hint


def test_a_folder_that_was_not_there_is_an_error_and_not_an_empty_set(repository):
    (repository.folder / "README.md").write_text("x")
    repository("add", "README.md")
    repository("commit", "--quiet", "--message", "m")
    with pytest.raises(RemitError, match="there is no folder"):
        at_revision(repository.policies, "HEAD")


def test_outside_of_git_there_is_no_revision(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(RemitError, match="lies in no git repository"):
        at_revision(tmp_path, "HEAD")


def test_without_git_it_says_so(repository, monkeypatch, tmp_path):
    repository.commit(a=A)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert shutil.which("git") is None
    with pytest.raises(RemitError, match="`git` is not installed") as error:
        at_revision(repository.policies, "HEAD")
    assert "name a folder" in error.value.hint


def test_an_object_that_is_missing_is_an_error(repository):
    repository.commit(a=A)
    blob = repository("rev-parse", "HEAD:ops/policies/a.cedar").strip()
    (repository.folder / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    with pytest.raises(RemitError, match="does not hold the content"):
        at_revision(repository.policies, "HEAD")


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/x", "", "a//b", ".", "a/./b", "a\0b"])
def test_no_path_leads_out_of_the_folder(tmp_path, path):
    with pytest.raises(RemitError, match="not the name of a file"):
        put(tmp_path / "in", path, b"")
    assert list(tmp_path.iterdir()) == []


def folder(**texts):
    return Folder(texts={f"{name.replace('__', '/')}.cedar": text for name, text in texts.items()})


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        (folder(a=A), folder(a=A), ((), (), ())),
        (folder(a=A, b=B), folder(both=B + A), ((), (), ())),
        (folder(a=A), folder(a=f"// why\n{A.replace(' (', '(')}"), ((), (), ())),
        (folder(a=A), folder(a=A, b=B), (("b",), (), ())),
        (folder(a=A, b=B), folder(b=B), ((), ("a",), ())),
        (folder(a=A), folder(a=A.replace('"p"', '"q"')), ((), (), ("a",))),
        (folder(a=A), folder(a=A.replace(";", " when { context.guest };")), ((), (), ("a",))),
        (folder(a=A, b=B), folder(b=B, obligations__a=A), (("a",), ("a",), ())),
    ],
)
def test_what_differs_is_told_by_id_and_layout_is_no_difference(before, after, found):
    assert differences(before, after) == Differences(*found)
