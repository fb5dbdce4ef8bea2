"""Stopping a node over HTTP; `tests/cli/test_operations.py` stops a real one."""

from __future__ import annotations

from tests.support.management import Api


async def test_a_node_is_not_stopped_under_another_name(http: Api) -> None:
    for body in ({}, {"node": "rabbit@elsewhere"}, {"node": 1}):
        assert (await http.ask("POST", "/x/shutdown", body)).status == 400, body
    assert (await http.ask("GET", "/whoami")).status == 200
