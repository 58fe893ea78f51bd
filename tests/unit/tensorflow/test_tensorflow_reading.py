"""Reading on after a cut, from the byte where it was; and never asking again where the answer was no."""

import random
import secrets
from collections.abc import Iterator

import pytest
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    IncompleteReadError,
    ServiceRequestError,
    ServiceResponseError,
)

from remit.tensorflow.blob import Container
from remit.tensorflow.errors import DataCorrupt, ReadFailed, ReadRefused
from remit.tensorflow.files import File
from remit.tensorflow.locations import Location, parse
from remit.tensorflow.patience import Verdict
from remit.tensorflow.reading import Reader


def answer(status: int) -> HttpResponseError:
    error = HttpResponseError("x")
    error.status_code = status
    return error


class Fake:
    """A place whose every read may fail first; judged as Blob Storage is."""

    chunk = 1000
    judge = Container.judge

    def __init__(self, content: bytes, failing) -> None:
        self.content, self.failing = content, failing
        self.asked: list[int] = []
        self.renewed = 0

    def find(self, pattern: Location) -> Iterator[File]:
        yield File(pattern, len(self.content))

    def read(self, file: File, start: int, length: int) -> bytes:
        self.asked.append(start)
        if error := self.failing(len(self.asked)):
            raise error
        return self.content[start : start + length]

    def renew(self) -> None:
        self.renewed += 1


def reading(store: Fake, time) -> tuple[Reader, File]:
    reader = Reader(patience=time.patience())
    reader._stores["az", "acc/con"] = store
    return reader, File(parse("az://acc/con/file"), len(store.content))


@pytest.mark.promise("T8")
def test_whatever_is_cut_the_bytes_are_those_of_the_file(time):
    seed = secrets.randbelow(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    errors = [answer(503), answer(401), ServiceResponseError("cut"), IncompleteReadError("half"), TimeoutError()]
    content = chance.randbytes(23_456)
    streak = 0

    def failing(_: int):
        nonlocal streak
        streak = streak + 1 if chance.random() < 0.5 and streak < 3 else 0
        return chance.choice(errors) if streak else None

    store = Fake(content, failing)
    reader, file = reading(store, time)
    assert b"".join(reader.pieces(file)) == content
    assert store.asked == sorted(store.asked), "what had come was asked for again"
    assert set(store.asked) == set(range(0, 23_456, 1000))


@pytest.mark.parametrize("error", [answer(403), answer(404), answer(412), ClientAuthenticationError("no")])
@pytest.mark.promise("T8")
def test_a_definite_no_is_told_at_once(time, error):
    store = Fake(b"x", lambda _: error)
    reader, file = reading(store, time)
    with pytest.raises(ReadFailed, match="az://acc/con/file"):
        list(reader.pieces(file))
    assert (len(store.asked), time.slept) == (1, [])


def test_a_service_that_turns_down_one_token_after_the_other_is_believed(time):
    store = Fake(b"x", lambda _: answer(401))
    reader, file = reading(store, time)
    with pytest.raises(ReadRefused):
        list(reader.pieces(file))
    assert (len(store.asked), store.renewed) == (4, 3)


def test_patience_ends_and_its_pauses_grow_to_a_bound(time):
    store = Fake(b"x", lambda _: ServiceRequestError("away"))
    reader, file = reading(store, time)
    with pytest.raises(ReadFailed) as told:
        list(reader.pieces(file))
    assert not isinstance(told.value, ReadRefused), "the network is no role"
    assert time.slept[:3] == [0.1, 0.2, 0.4]
    assert max(time.slept) == 10.0
    assert 120 <= time.now < 131


def test_a_file_that_became_shorter_is_no_end_of_data(time):
    store = Fake(b"x" * 1500, lambda _: None)
    reader, file = reading(store, time)
    store.content = store.content[:1000]
    with pytest.raises(DataCorrupt, match="ended at byte 1000 of 1500"):
        list(reader.pieces(file))


VERDICTS = [
    (answer(401), Verdict.RENEW),
    (answer(403), Verdict.NEVER),
    (answer(404), Verdict.NEVER),
    (answer(409), Verdict.NEVER),
    (answer(429), Verdict.AGAIN),
    (answer(500), Verdict.AGAIN),
    (answer(503), Verdict.AGAIN),
    (ClientAuthenticationError("the sidecar refused"), Verdict.NEVER),
    (ServiceRequestError("no route"), Verdict.AGAIN),
    (ServiceRequestError("[SSL: CERTIFICATE_VERIFY_FAILED] unable to get local issuer"), Verdict.NEVER),
    (IncompleteReadError("half"), Verdict.AGAIN),
    (ConnectionResetError(), Verdict.AGAIN),
    (ValueError("a mistake"), Verdict.NEVER),
    (MemoryError(), Verdict.NEVER),
]


@pytest.mark.parametrize(("error", "verdict"), VERDICTS)
def test_what_an_error_of_blob_storage_means(error, verdict):
    assert Container.judge(Fake(b"", None), error) is verdict


def test_files_are_found_once_and_in_order(tmp_path):
    for name in ("b", "a", "c"):
        (tmp_path / f"{name}.tfrecord").write_bytes(b"12")
    (tmp_path / "d.tfrecord").mkdir()
    found = Reader().find([f"{tmp_path}/*.tfrecord", f"{tmp_path}/a.tfrecord"])
    assert [(file.location.path.rpartition("/")[2], file.size) for file in found] == [
        ("a.tfrecord", 2),
        ("b.tfrecord", 2),
        ("c.tfrecord", 2),
    ]


@pytest.mark.parametrize("patterns", [[], "/nowhere/*.tfrecord", "/nowhere/x.tfrecord"])
def test_nothing_is_never_a_dataset(patterns):
    with pytest.raises(ReadFailed):
        Reader().find(patterns)
