"""Permissions: which names match, and what variables in topic patterns stand for."""

from __future__ import annotations

import pytest

from harebell.auth.permissions import PERMISSIONS, NamePattern, Permissions, TopicPermissions
from harebell.errors import PRECONDITION_FAILED, BrokerError


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        (".*", "anything", True),
        (".*", "", True),
        ("", "", True),
        ("", "x", False),
        ("^$", "x", False),
        ("log", "my-logs", True),
        ("^log", "my-logs", False),
        ("^log$", "log", True),
        ("^(a|b)-", "b-1", True),
        ("a", "A", False),
        ("ü", "grün", True),
    ],
)
def test_a_pattern_matches_anywhere_unless_anchored_and_an_empty_one_the_empty_name(
    pattern: str, name: str, matches: bool
) -> None:
    assert NamePattern(pattern).matches(name) is matches


@pytest.mark.parametrize("pattern", ["(", "[a", "*", "(?P<x", "a{2,1}", "(" * 5000])
def test_a_pattern_that_is_none_is_refused(pattern: str) -> None:
    with pytest.raises(BrokerError, match="regular expression") as refused:
        Permissions(".*", pattern, ".*")
    assert refused.value.row is PRECONDITION_FAILED


@pytest.mark.parametrize("granted", PERMISSIONS)
@pytest.mark.parametrize("asked", PERMISSIONS)
def test_the_three_permissions_are_apart(granted: str, asked: str) -> None:
    patterns = {name: "^q$" if name == granted else "" for name in PERMISSIONS}
    permissions = Permissions(patterns["configure"], patterns["write"], patterns["read"])
    assert permissions.allow(asked, "q") is (asked == granted)
    assert not permissions.allow(asked, "q2")


@pytest.mark.parametrize("name", ["", "amq.default"])
def test_the_default_exchange_goes_by_amq_default(name: str) -> None:
    assert Permissions("", r"^amq\.default$", "").allow("write", name)
    assert not Permissions("", "^$", "").allow("write", name)


def test_what_was_set_is_given_back() -> None:
    assert Permissions("a", "", "^b$").texts() == ("a", "", "^b$")
    assert TopicPermissions("^{username}", "", "guest", "/").texts() == ("^{username}", "")


def test_an_unknown_permission_is_an_error_not_a_refusal() -> None:
    with pytest.raises(KeyError):
        Permissions(".*", ".*", ".*").allow("delete", "q")
    with pytest.raises(KeyError):
        TopicPermissions(".*", ".*", "u", "/").allow("configure", "q")


@pytest.mark.parametrize(
    ("pattern", "key", "matches"),
    [
        (r"^{username}\.", "alice.orders", True),
        (r"^{username}\.", "bob.orders", False),
        (r"^{username}\.{vhost}$", "alice.shop", True),
        (r"^{client_id}", "alice", False),
        ("", "alice.orders", False),
        ("", "", True),
        (".*", "", True),
        ("^a{2}$", "aa", True),
    ],
)
def test_topic_patterns_know_the_user_and_the_vhost(pattern: str, key: str, matches: bool) -> None:
    permissions = TopicPermissions(pattern, "^none$", "alice", "shop")
    assert permissions.allow("write", key) is matches
    assert not permissions.allow("read", key)


@pytest.mark.parametrize("name", [".*", "a|b", "{vhost}", "(", "a.b"])
def test_a_user_name_is_never_a_pattern(name: str) -> None:
    permissions = TopicPermissions(r"^{username}\.x$", "", name, "shop")
    assert permissions.allow("write", f"{name}.x")
    assert not permissions.allow("write", "other.x")
    assert not permissions.allow("write", "shop.x")
