"""remit.yaml: prefixes in buckets and containers, and what is none."""

import pytest
from tests.unit.settings.test_settings_read import changed, problems

from remit.model.prefixes import LONGEST
from remit.settings.read import read

BUCKET = "buckets/contoso-fraud-test-data"
GRANT = f"        {BUCKET}: [roles/storage.objectViewer]"
LINE = "        containers: [contosofraudtest/features]"
SCIENTIST = "data-scientist@contoso-fraud-test.iam.gserviceaccount.com"
FEATURES = "contosofraudtest/features"


def test_prefixes_are_read_as_they_stand(tmp_path):
    below = f"        {BUCKET}/features/day=2026-11-23/: [roles/storage.objectViewer]"
    text = changed(GRANT, below).replace(LINE, f"        containers: [{FEATURES}/train/, {FEATURES}/eval/v1.2/]")
    (tmp_path / "remit.yaml").write_text(text, "utf-8")
    found = read(tmp_path / "remit.yaml")
    [account] = [one for one in found.trust.accounts if one.email == SCIENTIST]
    assert account.grants[f"{BUCKET}/features/day=2026-11-23/"] == ("roles/storage.objectViewer",)
    opened = (f"{FEATURES}/train/", f"{FEATURES}/eval/v1.2/")
    assert opened in {one.containers for one in found.trust.azure}
    assert opened in {one.containers for one in found.credentials.azure}


WRONG = ("", "/", "../", "a/../", "/a/", "a//", '"/', "'/", "a*/", "a b/", "a%2f/", "a{/", "a\\\\/")


@pytest.mark.parametrize("prefix", WRONG)
def test_what_is_no_prefix_is_said_where_it_stands(tmp_path, prefix):
    for old, new in (
        (GRANT, f"        '{BUCKET}/{prefix.replace(chr(39), chr(39) * 2)}': [roles/storage.objectViewer]"),
        (LINE, f"        containers: ['{FEATURES}/{prefix.replace(chr(39), chr(39) * 2)}']"),
    ):
        assert any("does not have the form" in said for *_, said in problems(tmp_path, changed(old, new)))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            GRANT,
            f"{GRANT}\n        {BUCKET}/features/: [roles/storage.objectViewer]",
            f"`roles/storage.objectViewer` stands on `{BUCKET}` too, in which `{BUCKET}/features/` lies",
        ),
        (
            GRANT,
            f"        {BUCKET}/a/: [roles/storage.objectUser]\n        {BUCKET}/a/b/: [roles/storage.objectUser]",
            f"`roles/storage.objectUser` stands on `{BUCKET}/a/` too, in which `{BUCKET}/a/b/` lies",
        ),
        (GRANT, f"        {BUCKET}/a/: [roles/viewer]", "Google takes no condition on it"),
        (GRANT, f"        {BUCKET}/a/: [policy]", "`policy` is for projects only"),
        (GRANT, "        buckets/somebodys/a/: [roles/storage.objectViewer]", "`somebodys` is not among the buckets"),
        (GRANT, f"        {BUCKET}/{'x' * LONGEST}/: [roles/storage.objectViewer]", f"{LONGEST} characters at most"),
        (
            LINE,
            f"        containers: [{FEATURES}, {FEATURES}/train/]",
            f"`{FEATURES}/train/` lies in `{FEATURES}`, which is opened as a whole",
        ),
        (LINE, f"        containers: [{FEATURES}/{'x' * LONGEST}/]", f"{LONGEST} characters at most"),
        (LINE, "        containers: [contosofraudprod/features/a/]", "is not among the containers of"),
    ],
)
def test_a_prefix_that_would_bind_nobody_is_refused(tmp_path, old, new, message):
    assert [said for *_, said in problems(tmp_path, changed(old, new)) if message in said]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (GRANT, f"        {BUCKET}/features: [roles/storage.objectViewer]"),
        (LINE, f"        containers: [{FEATURES}/train]"),
    ],
)
def test_a_prefix_without_its_end_is_told_so(tmp_path, old, new):
    assert [said for *_, said in problems(tmp_path, changed(old, new)) if "has to end in `/`" in said]


@pytest.mark.parametrize("prefix", ["contoso-fraud-test/a/", "contoso-fraud-test/a"])
def test_projects_have_no_prefixes(tmp_path, prefix):
    new = f"        projects/{prefix}: [roles/logging.viewer]"
    assert problems(tmp_path, changed(GRANT, f"{GRANT}\n{new}"))
