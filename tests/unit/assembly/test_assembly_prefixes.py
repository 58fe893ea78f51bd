"""Tokens below prefixes: what an application opens is what policy is asked, no more of its container and no less."""

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.unit.assembly.test_assembly_offers import READER, TEST, somebody

from remit.access.exchange import Audience, Exchange, Target
from remit.assembly import rooms
from remit.assembly.offers import Offers, offers_of
from remit.model.decision import Circumstances
from remit.model.outcome import Outcome
from remit.settings.read import read

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "contoso"
FEATURES = "contosofraudtest/features"
SCIENTISTS = "9a000000-0000-4000-8000-000000000004"
BEFORE = (
    'Container::"//blob.core.windows.net/projects/contoso-fraud-test/accounts/contosofraudtest/containers/features"'
)


@pytest.fixture(scope="module")
def permits(tmp_path_factory):
    """Whether a policy lets data scientists have the token of a line that opens these."""
    folder = tmp_path_factory.mktemp("prefixes") / "contoso"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns(".remit"))
    cedar = folder / "policies" / "containers.cedar"
    policy = f"""@id("scientists-read-training-data")
@purpose("data scientists read what models are trained on")
@otherwise("only what lies below train/ is for data scientists")
permit (
    principal in Group::"{SCIENTISTS}",
    action == Action::"Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read",
    resource == {BEFORE}
)
when {{ context has within && context.within like "train/*" }};
"""
    kept = cedar.read_text("utf-8").split("@id(")
    own = [each for each in kept[1:] if SCIENTISTS not in each]
    cedar.write_text(kept[0] + "".join(f"@id({each}" for each in own) + policy, "utf-8")
    settings = read(folder / "remit.yaml")
    judge = rooms.judge(settings)
    [line] = [one for one in settings.credentials.azure if one.client == READER]

    def decided(*containers, access="read"):
        offers = Offers(settings.estate, (replace(line, containers=containers, access=access),))
        [offer] = offers.offers(somebody("DataScientist"), Audience(Target.BLOB, TEST))
        identity = replace(somebody("DataScientist"), groups=frozenset({SCIENTISTS}))
        request = offer.request(offer.names)
        return judge.decide(identity, request, Circumstances(now=1)).outcome is Outcome.PERMIT

    return decided


def test_what_lies_below_is_permitted_and_no_more_is_given(permits):
    assert permits(f"{FEATURES}/train/")
    assert permits(f"{FEATURES}/train/v1/", f"{FEATURES}/train/v2/")


@pytest.mark.parametrize(
    "containers",
    [
        (FEATURES,),
        (f"{FEATURES}/train2/",),
        (f"{FEATURES}/eval/",),
        (f"{FEATURES}/train/", f"{FEATURES}/eval/"),
        (f"{FEATURES}/train/", "contosofraudtest/staging"),
        ("contosofraudtest/staging/train/",),
    ],
)
def test_a_token_that_opens_more_is_not_given(permits, containers):
    assert not permits(*containers)


def test_writing_is_another_question(permits):
    assert not permits(f"{FEATURES}/train/", access="write")


BUCKET = f"{TEST}-data"


@pytest.fixture(scope="module")
def narrowed(tmp_path_factory):
    """Contoso's broker, whose data scientists may read below `train/` of a bucket, of which an account holds that."""
    folder = tmp_path_factory.mktemp("buckets") / "contoso"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns(".remit"))
    file, cedar = folder / "remit.yaml", folder / "policies" / "buckets.cedar"
    grant = f"        buckets/{BUCKET}: [roles/storage.objectViewer]"
    assert file.read_text("utf-8").count(grant) == 1
    below = grant.replace(f"{BUCKET}:", f"{BUCKET}/train/:")
    file.write_text(file.read_text("utf-8").replace(grant, below), "utf-8")
    whole = f'    resource == Bucket::"{BUCKET}"\n);\n'
    within = whole.replace(";", '\nwhen { context has within && context.within like "train/*" };')
    assert cedar.read_text("utf-8").count(whole) == 1
    cedar.write_text(cedar.read_text("utf-8").replace(whole, within), "utf-8")
    settings = read(file)
    return offers_of(settings), rooms.judge(settings)


def permitted(narrowed, *groups):
    """The names of the token for reading that somebody of these groups is given."""
    offers, judge = narrowed
    identity = replace(somebody("DataScientist"), groups=frozenset(groups))
    [offer] = offers.offers(identity, Audience(Target.STORAGE, TEST, reading=True))
    exchange = Exchange(SimpleNamespace(judge=judge), offers)
    return exchange._permitted(identity, offer, Circumstances(now=1))


def test_whoever_may_read_below_a_prefix_is_given_a_token_for_just_that(narrowed):
    assert permitted(narrowed, SCIENTISTS) == [f"{BUCKET}/train/"]
    assert permitted(narrowed) == []


def test_whoever_may_read_all_of_a_bucket_is_given_no_second_word_for_its_parts(narrowed):
    engineers = "9a000000-0000-4000-8000-000000000002"
    assert permitted(narrowed, engineers) == [BUCKET, f"{TEST}-staging"]
