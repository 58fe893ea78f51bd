"""The policy folder as it was at a revision of git, and which policies differ between two sets.

Git is asked for names and contents, and nothing is ever checked out: neither a working tree nor an index is touched,
and what an attribute file would leave out of an archive is read all the same. A name that git could take for an
option is refused by git itself (`--end-of-options`); a repository that the environment names (git does so for hooks),
and contents that it holds in place of others (`git replace`), are not asked.
Source: https://git-scm.com/docs/git-ls-tree, https://git-scm.com/docs/git-cat-file (batch output).
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from cedarpy import PolicySet, pst

from remit.model.errors import RemitError
from remit.policy.source import Folder, read_folder

_SECONDS = 60  # for one question to git: a large repository on a slow disk
_FILE = "100"  # how the mode of a plain file begins; links and submodules have others
_QUIET = {
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "LC_ALL": "C",
}
_ELSEWHERE = frozenset(
    {
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_COMMON_DIR",
        "GIT_DIR",
        "GIT_INDEX_FILE",
        "GIT_NAMESPACE",
        "GIT_OBJECT_DIRECTORY",
        "GIT_PREFIX",
        "GIT_WORK_TREE",
    }
)
"""What says which repository is meant, of `git rev-parse --local-env-vars`: here it is the folder that does."""


@dataclass(frozen=True, slots=True)
class Differences:
    """Ids of the policies and obligations that one set has and the other has not, or has with another meaning."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    edited: tuple[str, ...]


def differences(before: Folder, after: Folder) -> Differences:
    """What changed between two good sets: layout and comments do not count, annotations do."""
    old, new = _trees(before), _trees(after)
    return Differences(
        added=_ids(new.keys() - old.keys()),
        removed=_ids(old.keys() - new.keys()),
        edited=_ids(name for name in old.keys() & new.keys() if old[name] != new[name]),
    )


def differing(before: Folder, after: Folder) -> tuple[pst.Template, ...]:
    """Every statement of either set that the other has not, or not with this meaning."""
    old, new = _trees(before), _trees(after)
    names = [name for name in old.keys() | new.keys() if old.get(name) != new.get(name)]
    return tuple(trees[name] for trees in (old, new) for name in sorted(names) if name in trees)


def _trees(folder: Folder) -> Mapping[tuple[str, str], pst.Template]:
    """Every statement by its `@id`, and by whether it is a policy or an obligation."""
    return {
        (tree.annotations.get("id", ""), "obligation" if "/" in path else "policy"): replace(tree, id="")
        for path, text in folder.texts.items()
        for tree in PolicySet.from_str(text).to_pst().static_policies.values()
    }


def _ids(names: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    return tuple(sorted(name for name, _ in names))


def at_revision(folder: Path, revision: str) -> Folder:
    """The policies of a folder as they were; raises `RemitError` when git, the revision or the folder is not there."""
    git = shutil.which("git")
    if git is None:
        raise RemitError(
            "`git` is not installed, and the policies of a revision are asked of it",
            hint="install git, or name a folder instead of a revision",
        )
    # 1 which commit is meant
    asked = (git, "-C", str(folder))
    top = _said(*asked, "rev-parse", "--show-toplevel")
    if top is None:
        raise RemitError(
            f"`{folder}` lies in no git repository", hint="name the folder to compare with, instead of a revision"
        )
    commit = _said(*asked, "rev-parse", "--verify", "--quiet", "--end-of-options", revision + "^{commit}")
    if commit is None:
        raise RemitError(
            f"`{revision}` is neither a folder nor a revision of `{top.decode().strip()}`",
            hint="name a folder, a branch, a tag or a commit",
        )
    # 2 what lay in the folder, and 3 what it held
    name = commit.decode().strip()
    listed = _said(*asked, "ls-tree", "-r", "-z", name)
    blobs = dict(_blobs(listed or b"", revision))
    if not blobs:
        raise RemitError(f"there is no folder `{folder}` at `{revision}`")
    return _unfolded(dict(_contents(asked, blobs)), f"{revision}:{folder.name}")


def _blobs(listed: bytes, revision: str) -> Iterator[tuple[str, str]]:
    """Path and object of each file, `MODE TYPE OBJECT<TAB>PATH`, paths relative to the folder."""
    for line in listed.split(b"\0")[:-1]:
        about, _, path = line.partition(b"\t")
        mode, _, blob = about.decode().split(" ")
        if not mode.startswith(_FILE):
            raise RemitError(f"`{os.fsdecode(path)}` is a link or a repository of its own at `{revision}`")
        yield os.fsdecode(path), blob


def _contents(asked: tuple[str, ...], blobs: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    told = _said(*asked, "cat-file", "--batch", put="".join(f"{blob}\n" for blob in blobs.values()).encode())
    rest = told or b""
    for path, blob in blobs.items():
        head, _, rest = rest.partition(b"\n")
        words = head.decode().split(" ")
        if words[:2] != [blob, "blob"]:
            raise RemitError(f"git does not hold the content of `{path}`", hint="is the clone complete? `git fsck`")
        size = int(words[2])
        yield path, rest[:size]
        rest = rest[size + 1 :]


def _unfolded(contents: Mapping[str, bytes], name: str) -> Folder:
    """The files as a folder is read, by the same rules; problems are told by the revision's name."""
    with tempfile.TemporaryDirectory(prefix="remit-p-") as made:
        for path, content in contents.items():
            put(Path(made), path, content)
        found = read_folder(Path(made))
    return replace(
        found,
        names={inside: f"{name}/{inside}" for inside in found.texts},
        problems=[replace(each, file=each.file.replace(made, name)) for each in found.problems],
    )


def put(folder: Path, path: str, content: bytes) -> None:
    """Writes a file to its place below a folder; raises `RemitError` for a path that leads out of it."""
    parts = path.split("/")
    if not {"", ".", ".."}.isdisjoint(parts) or "\0" in path:
        raise RemitError(f"`{path}` is not the name of a file in a policy folder")
    file = folder.joinpath(*parts)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


def _said(*command: str, put: bytes = b"") -> bytes | None:
    """What git prints, `None` when it fails."""
    around = {name: value for name, value in os.environ.items() if name not in _ELSEWHERE} | _QUIET
    try:
        done = subprocess.run(  # noqa: S603 - no shell, and nobody's word is taken for an option
            command, input=put, capture_output=True, timeout=_SECONDS, check=False, env=around
        )
    except subprocess.TimeoutExpired as error:
        raise RemitError(f"git did not answer within {_SECONDS} s") from error
    return done.stdout if done.returncode == 0 else None
