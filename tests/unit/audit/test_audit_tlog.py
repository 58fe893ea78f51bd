import pytest

from remit.audit import tlog

# The reference tree of Certificate Transparency: certificate-transparency-go, internal test data of its Merkle tree
LEAVES = [
    bytes.fromhex(text)
    for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = [
    bytes.fromhex(text)
    for text in (
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    )
]


def leaves(count: int) -> list[bytes]:
    return [tlog.leaf_hash(number.to_bytes(4)) for number in range(count)]


def test_roots_of_the_reference_tree():
    edge = tlog.Edge()
    assert edge.root() == tlog.EMPTY_ROOT
    for leaf, root in zip(LEAVES, ROOTS, strict=True):
        edge.append(tlog.leaf_hash(leaf))
        assert edge.root() == root
    assert tlog.root_of(map(tlog.leaf_hash, LEAVES)) == ROOTS[-1]


def test_an_edge_survives_being_stored():
    edge = tlog.Edge()
    for leaf in leaves(100):
        edge.append(leaf)
        again = tlog.Edge(edge.size, edge.packed())
        assert again.root() == edge.root()


@pytest.mark.parametrize(("size", "packed"), [(3, bytes(32)), (0, bytes(32)), (1, bytes(31)), (-1, b"")])
def test_an_edge_that_does_not_fit_its_size_is_refused(size, packed):
    with pytest.raises(ValueError, match="does not fit"):
        tlog.Edge(size, packed)


def test_every_inclusion_proof_verifies_and_no_changed_one():
    for size in range(1, 34):
        tree = leaves(size)
        root = tlog.root_of(tree)
        for index in range(size):
            proof = tlog.inclusion_proof(tree, index)
            assert tlog.verify_inclusion(tree[index], index, size, proof, root)
            assert not tlog.verify_inclusion(tlog.leaf_hash(b"other"), index, size, proof, root)
            assert not tlog.verify_inclusion(tree[index], index, size, [*proof, root], root)
            assert not tlog.verify_inclusion(tree[index], size, size, proof, root)
            if proof:
                assert not tlog.verify_inclusion(tree[index], index, size, proof[:-1], root)
                assert not tlog.verify_inclusion(tree[index], index, size, [root, *proof[1:]], root)


def test_every_consistency_proof_verifies_and_no_changed_one():
    tree = leaves(33)
    roots = [tlog.root_of(tree[:size]) for size in range(34)]
    for new in range(34):
        for old in range(new + 1):
            proof = tlog.consistency_proof(tree[:new], old)
            assert tlog.verify_consistency(old, new, roots[old], roots[new], proof)
            assert not tlog.verify_consistency(old, new, bytes(32), roots[new], proof)
            assert not tlog.verify_consistency(old, new, roots[old], roots[new], [*proof, bytes(32)])
            if 0 < old < new:
                assert not tlog.verify_consistency(old, new, roots[old], bytes(32), proof)
                assert not tlog.verify_consistency(old, new, roots[old], roots[new], proof[:-1])
                assert not tlog.verify_consistency(old, new, roots[old], roots[new], [])


def test_no_tree_shrinks():
    root = tlog.root_of(leaves(3))
    assert not tlog.verify_consistency(3, 2, root, root, [])


@pytest.mark.parametrize("index", [-1, 3])
def test_no_proof_for_a_leaf_that_is_not_there(index):
    with pytest.raises(ValueError, match="no leaf"):
        tlog.inclusion_proof(leaves(3), index)


@pytest.mark.parametrize("size", [-1, 4])
def test_no_proof_from_a_tree_that_never_was(size):
    with pytest.raises(ValueError, match="no tree"):
        tlog.consistency_proof(leaves(3), size)


def test_random_bytes_are_no_proof(rng):
    tree = leaves(21)
    root = tlog.root_of(tree)
    for _ in range(500):
        proof = [rng.randbytes(32) for _ in range(rng.randrange(7))]
        assert not tlog.verify_inclusion(tree[5], 5, 21, proof, root)
        assert not tlog.verify_consistency(rng.randrange(1, 21), 21, rng.randbytes(32), root, proof)
