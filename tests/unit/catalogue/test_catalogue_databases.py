"""Connecting to a database: names count to the letter, and a role is one of those that stand there."""

import pytest

from remit.catalogue import actions, database_request
from remit.model.errors import Refused
from remit.model.estate import Database, Estate, Project
from remit.model.operation import Group
from remit.model.reasons import Reason

ESTATE = Estate(
    (Project("p", "1", "test", ()), Project("q", "2", "prod", ())),
    databases=(Database("fraud", "p", ("reader", "writer")), Database("events", "q", ("reader",))),
)


def test_connecting_is_one_action_on_one_role():
    [operation] = database_request(ESTATE, "fraud", "reader").operations
    assert operation.action.id == operation.action.permission == "postgresql.databases.connect"
    assert actions()[operation.action.id] is operation.action.group is Group.USE
    [resource] = operation.resources
    assert (resource.type, resource.project) == ("DatabaseRole", "p")
    assert resource.name == "//remit/projects/p/databases/fraud/roles/reader"


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("Fraud", "reader"),
        ("fraud ", "reader"),
        ("fraud\0", "reader"),
        ("", "reader"),
        ("fraud/roles/writer", "reader"),
        ("fraud", "Reader"),
        ("fraud", '"reader"'),
        ("fraud", ""),
        ("fraud", "reader\n"),
        ("fraud", "\N{FULLWIDTH LATIN SMALL LETTER R}eader"),
        ("events", "writer"),
        ("x" * 10_000, "reader"),
    ],
)
def test_what_does_not_stand_there_is_unknown(name, role):
    with pytest.raises(Refused) as caught:
        database_request(ESTATE, name, role)
    assert caught.value.reason is Reason.RESOURCE_UNKNOWN
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 250
