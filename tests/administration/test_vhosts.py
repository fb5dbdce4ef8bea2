"""Virtual hosts: making, describing, protecting and deleting them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pamqp import commands

from harebell.administration.administration import Administration
from harebell.administration.users import get_permissions, list_permissions, set_topic_permissions
from harebell.administration.vhosts import delete_vhost, protect_vhost, protected, put_vhost
from harebell.errors import NOT_FOUND, PRECONDITION_FAILED, BrokerError
from tests.support.administration import administration_of
from tests.support.journal import DelayedJournal
from tests.support.node import Node


@pytest.fixture
def node() -> Node:
    return Node(DelayedJournal())


@pytest.fixture
def admin(node: Node) -> Administration:
    return administration_of(node)


def test_who_makes_a_virtual_host_may_do_everything_in_it(admin: Administration) -> None:
    assert put_vhost(admin, "v", creator="guest") > 0
    assert get_permissions(admin, "v", "guest")["configure"] == ".*"


def test_a_creator_who_is_no_user_gets_nothing(admin: Administration) -> None:
    put_vhost(admin, "v", creator="nobody")
    assert list_permissions(admin, "v") == []


def test_a_virtual_host_put_again_loses_description_and_tags_and_keeps_the_rest(
    admin: Administration,
) -> None:
    put_vhost(
        admin, "v", description="d", tags=["a"], default_queue_type="quorum", tracing=True, protected=True
    )
    vhost = admin.broker.vhosts["v"]
    assert vhost.metadata == {
        "description": "d",
        "tags": ["a"],
        "tracing": True,
        "protected_from_deletion": True,
    }
    put_vhost(admin, "v")
    assert (vhost.metadata["description"], vhost.metadata["tags"]) == ("", [])
    assert vhost.metadata["tracing"] is True
    assert protected(vhost)
    assert vhost.default_queue_type == "quorum"


def test_putting_what_is_there_already_writes_nothing(admin: Administration) -> None:
    put_vhost(admin, "v", description="d")
    assert put_vhost(admin, "v", description="d") == 0
    put_vhost(admin, "plain")
    assert put_vhost(admin, "plain") == 0


def test_undefined_stands_for_no_default_queue_type(admin: Administration) -> None:
    put_vhost(admin, "v", default_queue_type="quorum")
    put_vhost(admin, "v", default_queue_type="undefined")
    assert admin.broker.vhosts["v"].default_queue_type == ""


@pytest.mark.parametrize(
    ("name", "described"),
    [
        ("", {}),
        ("n" * 256, {}),
        ("\ud800", {}),
        ("v", {"default_queue_type": "nosuch"}),
        ("v", {"description": "x" * 20_000}),
        ("v", {"tags": ["t"] * 101}),
    ],
)
def test_what_cannot_be_kept_is_refused_and_makes_nothing(
    admin: Administration, name: str, described: dict[str, str]
) -> None:
    with pytest.raises(BrokerError) as refused:
        put_vhost(admin, name, **described)  # type: ignore[arg-type]
    assert refused.value.row is PRECONDITION_FAILED
    assert set(admin.broker.vhosts) == {"/"}


def test_deleting_a_virtual_host_closes_its_connections_and_takes_what_was_granted(
    node: Node, admin: Administration
) -> None:
    put_vhost(admin, "v", creator="guest")
    set_topic_permissions(admin, "v", "guest", "amq.topic", "^a", "^b")
    there, elsewhere = node.client(), node.connect()
    there.open(vhost="v")
    assert delete_vhost(admin, "v") > 0
    node.turn()
    closed = there.expect(commands.Connection.Close)
    assert (closed.reply_code, closed.reply_text) == (320, "CONNECTION_FORCED - vhost 'v' is deleted")
    assert elsewhere.channel() is not None
    assert "v" not in admin.directory.users["guest"].permissions
    assert admin.directory.users["guest"].topic_permissions == {}


def test_a_protected_virtual_host_is_not_deleted(admin: Administration) -> None:
    put_vhost(admin, "v")
    assert protect_vhost(admin, "v", True) > 0
    assert protect_vhost(admin, "v", True) == 0
    with pytest.raises(BrokerError, match="protected from deletion"):
        delete_vhost(admin, "v")
    protect_vhost(admin, "v", False)
    delete_vhost(admin, "v")
    assert "v" not in admin.broker.vhosts


def test_a_missing_virtual_host_is_not_found(admin: Administration) -> None:
    operations: list[Callable[[], object]] = [
        lambda: delete_vhost(admin, "v"),
        lambda: protect_vhost(admin, "v", True),
    ]
    for operation in operations:
        with pytest.raises(BrokerError) as refused:
            operation()
        assert refused.value.row is NOT_FOUND
