import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from remit.audit.note import Checkpoint, Signer, Verifier, open_checkpoint, open_note
from remit.audit.tlog import EMPTY_ROOT
from remit.model.errors import EvidenceBroken

# The example of golang.org/x/mod/sumdb/note, whose format c2sp.org/signed-note specifies
GO_VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_KEY = "AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
GO_TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
GO_NOTE = (
    GO_TEXT
    + "\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)


@pytest.fixture
def signer() -> Signer:
    return Signer("contoso.example/remit", Ed25519PrivateKey.from_private_bytes(bytes(range(32))))


def test_the_public_example_opens():
    verifier = Verifier.parse(GO_VKEY)
    assert str(verifier) == GO_VKEY
    assert open_note(GO_NOTE, [verifier]) == GO_TEXT


def test_the_public_example_is_signed_byte_for_byte():
    seed = base64.b64decode(GO_KEY)[1:]
    assert Signer("PeterNeumann", Ed25519PrivateKey.from_private_bytes(seed)).sign(GO_TEXT) == GO_NOTE


def test_a_changed_text_does_not_open():
    with pytest.raises(EvidenceBroken, match="`PeterNeumann` does not verify"):
        open_note(GO_NOTE.replace("answer", "Answer"), [Verifier.parse(GO_VKEY)])


def test_unknown_signatures_are_passed_over_but_one_must_be_known(signer):
    both = GO_NOTE + signer.sign(GO_TEXT).rpartition("\n\n")[2]
    assert open_note(both, [Verifier.parse(GO_VKEY)]) == GO_TEXT
    assert open_note(both, [signer.verifier]) == GO_TEXT
    with pytest.raises(EvidenceBroken, match="no known key"):
        open_note(GO_NOTE, [signer.verifier])
    bad = both.replace("problem is", "problem was")
    with pytest.raises(EvidenceBroken, match="does not verify"):
        open_note(bad, [signer.verifier])


@pytest.mark.parametrize(
    "note",
    [
        "",
        "text",
        "text\n",
        "text\n\n",
        "te\txt\n\n— a AAAA\n",
        "text\n\n- a AAAAAAAA\n",
        "text\n\n— a\n",
        "text\n\n— a+b AAAAAAAA\n",
        "text\n\n— a AAAA\n",
        "text\n\n— a !!!!\n",
        "text\n\n— a AAAAAAAAAB==\n",
        "text\n\n— a AAAAAAAA\n\n— a x\n",
        "x" * 1_000_001,
    ],
)
def test_what_is_no_note_is_refused(note):
    with pytest.raises(EvidenceBroken):
        open_note(note, [Verifier.parse(GO_VKEY)])


@pytest.mark.parametrize(
    "vkey",
    [
        "",
        "PeterNeumann",
        GO_VKEY.replace("c74f20a3", "c74f20a4"),
        GO_VKEY.replace("PeterNeumann", "Peter Neumann"),
        GO_VKEY.replace("PeterNeumann", ""),
        GO_VKEY[:-4],
        GO_VKEY.replace("+ARpc", "+ZRpc"),
        GO_VKEY + "=",
    ],
)
def test_what_is_no_verifier_key_is_refused(vkey):
    with pytest.raises(EvidenceBroken):
        Verifier.parse(vkey)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb", "a\u00a0b", "a\x07b"])
def test_a_log_needs_a_name_that_a_note_can_carry(name):
    with pytest.raises(ValueError, match="cannot name a log"):
        Signer(name, Ed25519PrivateKey.generate())


def test_a_checkpoint_round_trips(signer):
    checkpoint = Checkpoint("contoso.example/remit", 0, EMPTY_ROOT)
    note = signer.sign(checkpoint.text)
    assert open_checkpoint(note, [signer.verifier]) == checkpoint
    extended = signer.sign(checkpoint.text + "an extension\n")
    assert open_checkpoint(extended, [signer.verifier]) == checkpoint


def test_a_checkpoint_of_another_log_is_refused(signer):
    note = signer.sign(Checkpoint("elsewhere.example/log", 0, EMPTY_ROOT).text)
    with pytest.raises(EvidenceBroken, match=r"another log, `elsewhere\.example/log`"):
        open_checkpoint(note, [signer.verifier])


ROOT = base64.b64encode(EMPTY_ROOT).decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "origin\n",
        f"origin\n1\n{ROOT}",
        f"\n1\n{ROOT}\n",
        f"origin\n-1\n{ROOT}\n",
        f"origin\n01\n{ROOT}\n",
        f"origin\n\u0661\n{ROOT}\n",
        "origin\n1\nAAAA\n",
        "origin\n1\n!\n",
    ],
)
def test_what_is_no_checkpoint_is_refused(text):
    with pytest.raises(EvidenceBroken):
        Checkpoint.parse(text)
