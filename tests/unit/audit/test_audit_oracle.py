"""An independent implementation, `aics-tlog`, reads what we write, and agrees."""

import pytest
from sqlalchemy import select

from remit.audit import tables, tlog
from remit.audit.ledger import Entry


@pytest.mark.promise("N7")
def test_it_verifies_our_checkpoints_and_our_entries(place, decided, oracle):
    ledger = place.ledger()
    for number in range(13):
        ledger.append([Entry.of(decided(number))])
    with place.reading().connect() as connection:
        entries = connection.execute(select(tables.entries.c.entry).order_by(tables.entries.c.position)).scalars().all()
        notes = connection.execute(select(tables.checkpoints.c.note)).scalars().all()
    tree = oracle.MerkleTree(entries)
    key = oracle.parse_vkey(place.vkey)
    for note in notes:
        result = oracle.verify_checkpoint(oracle.parse_note(note), key, expected_origin="contoso.example/remit")
        assert result.log_ok, result.error
        checkpoint = oracle.parse_checkpoint(oracle.parse_note(note).text)
        assert checkpoint.root == tree.root(checkpoint.size)
    leaves = [tlog.leaf_hash(entry) for entry in entries]
    for index, entry in enumerate(entries):
        assert oracle.verify_leaf_inclusion(entry, index, 13, tlog.inclusion_proof(leaves, index), tree.root())
    changed = notes[-1].replace("contoso", "c0ntoso")
    assert not oracle.verify_checkpoint(oracle.parse_note(changed), key).log_ok


def test_proofs_agree_both_ways(oracle, rng):
    data = [rng.randbytes(rng.randrange(40)) for _ in range(70)]
    leaves = [tlog.leaf_hash(item) for item in data]
    for size in range(1, 71):
        tree = oracle.MerkleTree(data[:size])
        root = tlog.root_of(leaves[:size])
        assert root == tree.root()
        index, old = rng.randrange(size), rng.randrange(size + 1)
        assert tlog.inclusion_proof(leaves[:size], index) == tree.inclusion_proof(index)
        assert tlog.consistency_proof(leaves[:size], old) == tree.consistency_proof(old)
        old_root = tlog.root_of(leaves[:old])
        proof = tree.consistency_proof(old)
        assert oracle.verify_consistency(old, size, old_root, root, proof)
        assert tlog.verify_consistency(old, size, old_root, root, proof)
        assert tlog.verify_inclusion(leaves[index], index, size, tree.inclusion_proof(index), root)


def test_it_signs_what_we_open(oracle):
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from remit.audit.note import Verifier, open_checkpoint

    key = Ed25519PrivateKey.generate()
    vkey = oracle.format_vkey(oracle.vkey_from_ed25519("contoso.example/remit", key.public_key()))
    signed = oracle.sign_checkpoint(
        oracle.Checkpoint("contoso.example/remit", 3, bytes(32)), key, "contoso.example/remit"
    ).serialise()
    checkpoint = open_checkpoint(signed, [Verifier.parse(vkey)])
    assert (checkpoint.origin, checkpoint.size, checkpoint.root) == ("contoso.example/remit", 3, bytes(32))
