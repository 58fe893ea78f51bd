"""What `tfrecords` does with its arguments, on files of this machine."""

import subprocess
import sys

import pytest

from remit.model.errors import RemitError


@pytest.fixture
def files(written, tmp_path):
    """Three files of five records each; their pattern."""
    for file in "abc":
        (tmp_path / f"{file}.tfrecord").write_bytes(written([f"{file}{number}".encode() for number in range(5)]))
    (tmp_path / "written.tfrecord").unlink()
    return f"{tmp_path}/*.tfrecord"


def words(dataset) -> list[str]:
    return [each.decode() for each in dataset.as_numpy_iterator()]


def test_files_are_interleaved_and_complete(files, tf):
    from remit.tensorflow import tfrecords

    assert words(tfrecords(files, interleave=3))[:6] == ["a0", "b0", "c0", "a1", "b1", "c1"]
    assert words(tfrecords(files, interleave=1)) == [f"{file}{number}" for file in "abc" for number in range(5)]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 20])
def test_every_record_is_in_one_shard(files, tf, count):
    from remit.tensorflow import tfrecords

    shards = [words(tfrecords(files, shard=(index, count))) for index in range(count)]
    assert sorted(word for shard in shards for word in shard) == sorted(words(tfrecords(files)))


@pytest.mark.parametrize(
    "wrong",
    [{"shard": (2, 2)}, {"shard": (-1, 2)}, {"shard": (0, 0)}, {"interleave": 0}, {"compression": "SNAPPY"}],
    ids=str,
)
def test_arguments_that_mean_nothing_are_refused(files, tf, wrong):
    from remit.tensorflow import tfrecords

    with pytest.raises(RemitError):
        tfrecords(files, **wrong)


def test_importing_it_costs_nothing():
    program = (
        "import remit.tensorflow, sys; print({'tensorflow', 'azure', 'numpy', 'google_crc32c'} & set(sys.modules))"
    )
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "set()"
