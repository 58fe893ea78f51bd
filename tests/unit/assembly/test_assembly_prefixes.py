"""Tokens below prefixes: what an application opens is what policy is asked, no more of its container and no less."""

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.access.nothing import NoRuns
from tests.unit.assembly.test_assembly_offers import READER, TEST, somebody

from remit.access.asking import Caller
from remit.access.exchange import Audience, Exchange, Target
from remit.access.who import Asking, Who
from remit.assembly import rooms
from remit.assembly.offers import Offers, offers_of
from remit.catalogue import blob_request, storage_request
from remit.catalogue.names import Names
from remit.catalogue.store import store_request
from remit.catalogue.words import Words
from remit.model.decision import Circumstances
from remit.model.operation import Request
from remit.model.outcome import Outcome
from remit.model.prefixes import LONGEST, is_prefix
from remit.model.secret import UnverifiedToken
from remit.model.wire import WireRequest
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


def asker(judge, identity):
    """`can` about oneself, in rooms where nothing but the policies has anything to say."""

    async def authenticate(*_):
        return identity

    rooms_ = SimpleNamespace(
        judge=judge,
        authenticator=SimpleNamespace(authenticate=authenticate),
        revocations=SimpleNamespace(epoch=0, check=lambda *_: None),
        observer=SimpleNamespace(observe=lambda _, seen: seen),
        grants=SimpleNamespace(in_force=lambda *_: ()),
        runs=NoRuns(),
        clock=lambda: 1_000_000,
    )

    def can(estate, action, word):
        story = Who(rooms_, Words(estate), None, None, dict, None)
        return asyncio.run(story.can(Caller(UnverifiedToken("t")), Asking(action, word)))

    return can


FOLDERS = st.one_of(
    st.sampled_from(["train", "train2", "eval", "tra", "day=2026-11-23"]), st.text("ab0_.=-/", max_size=9)
)
PREFIXES = st.lists(FOLDERS, min_size=1, max_size=4).map(lambda parts: "/".join(parts) + "/").filter(is_prefix)
STORES = st.sampled_from(
    [f"gs://{BUCKET}", f"gs://{TEST}-staging", f"az://{FEATURES}", "az://contosofraudtest/staging"]
)
GROUPS = st.sampled_from([(), (SCIENTISTS,), ("9a000000-0000-4000-8000-000000000002",)])


def test_can_about_a_prefix_is_what_a_token_for_it_would_be_decided_as(narrowed):
    """Of every action that the token allows: the same question, and so the same answer."""
    offers, judge = narrowed
    estate = offers.estate

    @settings(max_examples=150, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(STORES, PREFIXES, GROUPS, st.sampled_from(["read", "write"]))
    def equal(store, prefix, groups, mode):
        identity = replace(somebody("DataScientist"), groups=frozenset(groups))
        made = storage_request if store.startswith("gs:") else blob_request
        for operation in made(estate, [f"{store.partition('://')[2]}/{prefix}"], mode).operations:
            answer = asker(judge, identity)(estate, operation.action.id, f"{store}/{prefix}")
            [subject] = answer.subjects
            assert subject.verdict == judge.decide(identity, Request((operation,)), Circumstances(now=1))
            assert (answer.resource, answer.within) == (operation.resources[0], operation.within)

    equal()


@pytest.mark.parametrize(
    ("prefix", "may"), [("train/", True), ("train/v1/", True), ("train2/", False), ("tra/", False)]
)
def test_can_about_a_prefix_is_what_a_list_of_it_is_decided_as(narrowed, prefix, may):
    offers, judge = narrowed
    scientist = replace(somebody("DataScientist"), groups=frozenset({SCIENTISTS}))
    target = f"/storage/v1/b/{BUCKET}/o?prefix={prefix}"
    listing = store_request(WireRequest(None, "GET", "storage.googleapis.com", target), Names(offers.estate))
    [subject] = asker(judge, scientist)(offers.estate, "objects.list", f"gs://{BUCKET}/{prefix}").subjects
    assert subject.verdict == judge.decide(scientist, listing, Circumstances(now=1))
    assert (subject.verdict.outcome is Outcome.PERMIT) == may


@pytest.mark.parametrize("prefix", ["", "train", "train/../", "train//", "train%2F", "*", "x" * LONGEST + "/"])
def test_only_of_a_prefix_something_is_said(narrowed, prefix):
    """Least of all that it is permitted: of all of the bucket it is not, and what is no prefix is refused."""
    offers, judge = narrowed
    scientist = replace(somebody("DataScientist"), groups=frozenset({SCIENTISTS}))
    answer = asker(judge, scientist)(offers.estate, "objects.get", f"gs://{BUCKET}/{prefix}")
    verdicts = [subject.verdict for subject in answer.subjects] or [answer.decision.verdict]
    assert [verdict.outcome for verdict in verdicts] == [Outcome.DENY]
