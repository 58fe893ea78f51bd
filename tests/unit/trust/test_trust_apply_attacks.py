"""What the journal remembers of an apply that was undone: whose an application was."""

import pytest

from remit.model.errors import TrustBroken
from remit.trust.applying.journal import Journal, alone, made
from remit.trust.planning.plan import Act, Change, Plan
from remit.trust.things import Address, Found

REMIT = Address("entra.application", "remit")
PLAN = Plan((Change(Act.MAKE, REMIT, None, {"public": False}, "lets people sign in"),))


def test_what_was_made_and_undone_was_made_here_and_what_was_not_was_not(tmp_path):
    tmp_path.chmod(0o700)
    journal = Journal.begin(tmp_path, PLAN)
    journal.will(0)
    assert made(tmp_path) == {str(REMIT)}
    journal.done(0, Found(REMIT, {"public": False}, {"id": "o1", "appId": "a1"}))
    assert made(tmp_path) == {"o1", "a1"}
    journal.will(0, back=True)
    journal.undone(0, "removed", {})
    journal.close(back=True)
    assert made(tmp_path) == {"o1", "a1"}
    again = Journal.begin(tmp_path, PLAN)  # the same plan: the same file
    assert made(tmp_path) == {"o1", "a1"}
    again.will(0)
    again.close()
    assert made(tmp_path) == {"o1", "a1"}  # what an apply that is over never made is nobody's word


def test_a_checksum_is_too_long_for_two_plans_of_one():
    assert len(PLAN.checksum) * 4 >= 128


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o722])
def test_a_folder_that_others_may_write_to_holds_no_journals(tmp_path, mode):
    folder = tmp_path / "trust"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(TrustBroken, match="can be changed by others"), alone(folder):
        pass
    folder.chmod(0o755)
    with alone(folder):
        pass


def test_a_link_to_another_folder_holds_no_journals(tmp_path):
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "trust").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(TrustBroken, match="can be changed by others"), alone(tmp_path / "trust"):
        pass
