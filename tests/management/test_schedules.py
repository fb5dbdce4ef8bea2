"""Schedules over HTTP: set as parameters, shown with their next time, fired by the node."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession, encode_basic_auth

from harebell import Broker
from tests.management.test_redrive import Api


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with (
        Broker(management_port=0) as broker,
        ClientSession(headers={"Authorization": encode_basic_auth("guest", "guest")}) as session,
    ):
        yield Api(broker, session)


async def test_a_schedule_is_set_shown_fired_and_cleared(api: Api) -> None:
    assert (await api.ask("PUT", "/queues/%2F/q", {"durable": True}))[0] == 201
    # With six fields the first one is the second.
    value = {"cron": "* * * * * *", "routing_key": "q", "payload": "tick", "timezone": "Europe/Berlin"}
    assert (await api.ask("PUT", "/parameters/schedule/%2F/tick", {"value": value}))[0] == 201
    await api.broker.wait_for("q", ready=2)
    status, (shown,) = await api.ask("GET", "/x/schedules/%2F")
    assert status == 200
    assert (shown["name"], shown["cron"], shown["timezone"]) == ("tick", "* * * * * *", "Europe/Berlin")
    assert shown["next"] % 1000 == 0 and shown["last"] < shown["next"] <= shown["last"] + 2000
    assert (shown["failed"], shown["unrouted"], shown["enabled"]) == (0, 0, True)
    assert (await api.ask("DELETE", "/parameters/schedule/%2F/tick"))[0] == 204
    assert await api.ask("GET", "/x/schedules/%2F") == (200, [])


async def test_a_wrong_schedule_is_refused(api: Api) -> None:
    status, answer = await api.ask("PUT", "/parameters/schedule/%2F/bad", {"value": {"cron": "never"}})
    assert status == 400 and "cron" in answer["reason"]


async def test_who_may_not_publish_may_not_have_it_published(api: Api) -> None:
    await api.ask("PUT", "/users/clerk", {"password": "secret", "tags": "policymaker"})
    rights = {"configure": ".*", "write": "^mine$", "read": ".*"}
    await api.ask("PUT", "/permissions/%2F/clerk", rights)
    api.session.headers["Authorization"] = encode_basic_auth("clerk", "secret")
    path = "/parameters/schedule/%2F/s"
    for exchange, status in (("mine", 201), ("amq.topic", 401), ("", 401)):
        value = {"cron": "0 0 1 1 *", "exchange": exchange}
        assert (await api.ask("PUT", path, {"value": value}))[0] == status, exchange
