"""Queues over HTTP; statuses and words as observed on RabbitMQ 3.10.8."""

from __future__ import annotations

import aio_pika
import pytest

from tests.support.management import Api, segment

MISSING = (404, "Object Not Found", "Not Found")
LOCKED = (
    "cannot obtain exclusive access to locked queue 'q' in vhost '/'. It could be originally declared on "
    "another connection or the exclusive property value does not match that of the original declaration."
)


async def ignore(_: object) -> None:
    """Take a delivery."""


async def test_a_queue_is_declared_once_and_then_confirmed(http: Api) -> None:
    assert await http.put("/queues/%2F/q", {"durable": True, "arguments": {"x-max-length": 5}}) == 201
    assert await http.put("/queues/%2F/q", {"durable": True, "arguments": {"x-max-length": 5}}) == 204
    row = await http.get("/queues/%2F/q")
    assert (row["name"], row["vhost"], row["durable"], row["arguments"]) == (
        "q",
        "/",
        True,
        {"x-max-length": 5},
    )
    assert (row["messages"], row["consumers"], row["consumer_details"]) == (0, 0, [])


@pytest.mark.parametrize("body", [b"", b"{}", b'{"arguments":[]}', b'{"node":"elsewhere","unknown":1}'])
async def test_little_is_needed_to_declare_a_queue(http: Api, body: bytes) -> None:
    assert (await http.ask("PUT", "/queues/%2F/q", body)).status == 201
    row = await http.get("/queues/%2F/q")
    assert (row["durable"], row["auto_delete"], row["exclusive"], row["type"]) == (
        False,
        False,
        False,
        "classic",
    )


async def test_any_content_type_will_do(http: Api) -> None:
    for number, media in enumerate(("text/plain", "application/x-www-form-urlencoded", "x/y;z")):
        reply = await http.ask("PUT", f"/queues/%2F/q{number}", {}, headers={"Content-Type": media})
        assert reply.status == 201


async def test_flags_may_be_text(http: Api) -> None:
    await http.put("/queues/%2F/q", {"durable": "true", "auto_delete": "false"})
    assert (await http.get("/queues/%2F/q"))["durable"] is True
    wrongs: list[object] = ["yes", 1, None, []]
    for wrong in wrongs:
        reply = await http.ask("PUT", "/queues/%2F/r", {"durable": wrong})
        assert reply.status == 400
        assert "durable" in str(reply.json["reason"])


async def test_another_declaration_of_the_same_name_is_a_bad_request(http: Api) -> None:
    await http.put("/queues/%2F/q", {"durable": True})
    reply = await http.ask("PUT", "/queues/%2F/q", {"durable": False})
    assert reply.error == (
        400,
        "bad_request",
        "inequivalent arg 'durable' for queue 'q' in vhost '/': received 'false' but current is 'true'",
    )


@pytest.mark.parametrize(
    "arguments",
    [
        {"x-max-length": -1},
        {"x-max-length": "many"},
        {"x-queue-type": "nope"},
        {"x-queue-type": 5},
        {"x-max-length": 2**63},
        {"x-max-length": 1e300},
        {"k" * 256: 1},
        {"x-dead-letter-exchange": None},
        5,
        "x",
        [1],
    ],
)
async def test_arguments_that_cannot_be_are_bad_requests(http: Api, arguments: object) -> None:
    reply = await http.ask("PUT", "/queues/%2F/q", {"durable": True, "arguments": arguments})
    assert (reply.status, reply.json["error"]) == (400, "bad_request"), reply.text
    assert (await http.ask("GET", "/queues/%2F/q")).status == 404


async def test_a_quorum_queue_must_be_durable(http: Api) -> None:
    quorum = {"x-queue-type": "quorum"}
    reply = await http.ask("PUT", "/queues/%2F/q", {"arguments": quorum})
    assert reply.error == (400, "bad_request", "invalid property 'non-durable' for queue 'q' in vhost '/'")
    assert await http.put("/queues/%2F/q", {"durable": True, "arguments": quorum}) == 201
    assert (await http.get("/queues/%2F/q"))["type"] == "quorum"


async def test_reserved_names_are_refused(http: Api) -> None:
    status, error, reason = (await http.ask("PUT", "/queues/%2F/amq.x", {})).error
    assert (status, error) == (401, "not_authorised")
    assert "contains reserved prefix 'amq.*'" in reason


async def test_what_is_in_no_vhost_is_not_found(http: Api) -> None:
    for method in ("GET", "DELETE"):
        assert (await http.ask(method, "/queues/nope/q")).error == MISSING
    assert (await http.ask("GET", "/queues/nope")).error == MISSING
    assert (await http.ask("PUT", "/queues/nope/q", {})).error == (404, "not_found", "vhost_not_found")
    for method, path in (("GET", ""), ("DELETE", ""), ("DELETE", "/contents")):
        assert (await http.ask(method, f"/queues/%2F/nope{path}")).error == MISSING


async def test_a_queue_that_is_not_empty_or_in_use_can_be_kept(http: Api) -> None:
    await http.put("/queues/%2F/q")
    async with await aio_pika.connect(http.broker.url) as connection:
        channel = await connection.channel()
        await channel.default_exchange.publish(aio_pika.Message(b"x"), "q")
        reply = await http.ask("DELETE", "/queues/%2F/q?if-empty=true")
        assert reply.error == (400, "bad_request", "queue 'q' in vhost '/' not empty")
        assert (await http.ask("DELETE", "/queues/%2F/q/contents")).status == 204
        assert http.broker.queue("q").ready == 0
        await (await channel.get_queue("q")).consume(ignore)
        reply = await http.ask("DELETE", "/queues/%2F/q?if-unused=true&if-empty=true")
        assert reply.error == (400, "bad_request", "queue 'q' in vhost '/' in use")
        assert (await http.ask("DELETE", "/queues/%2F/q?if-unused=x")).status == 204


async def test_an_exclusive_queue_shows_and_stays_its_owners(http: Api) -> None:
    async with await aio_pika.connect(http.broker.url) as connection:
        channel = await connection.channel()
        await channel.declare_queue("q", exclusive=True)
        row = await http.get("/queues/%2F/q")
        assert (row["exclusive"], set(row["owner_pid_details"])) == (True, {"name", "peer_host", "peer_port"})
        for method, path, body in (
            ("DELETE", "", None),
            ("PUT", "", {}),
            ("DELETE", "/contents", None),
        ):
            reply = await http.ask(method, f"/queues/%2F/q{path}", body)
            assert reply.error == (400, "bad_request", LOCKED)
        wanted = {"count": 1, "ackmode": "ack_requeue_true", "encoding": "auto"}
        reply = await http.ask("POST", "/queues/%2F/q/get", wanted)
        assert reply.error == (400, "bad_request", f"405 RESOURCE_LOCKED - {LOCKED}")
        reply = await http.ask("POST", "/bindings/%2F/e/amq.direct/q/q", {})
        assert reply.error == (400, "bad_request", LOCKED)


async def test_consumers_show_with_their_queue(http: Api) -> None:
    await http.put("/queues/%2F/q")
    async with await aio_pika.connect(http.broker.url) as connection:
        channel = await connection.channel()
        tag = await (await channel.get_queue("q")).consume(ignore, no_ack=True)
        row = await http.get("/queues/%2F/q")
        assert (row["consumers"], [one["consumer_tag"] for one in row["consumer_details"]]) == (1, [tag])
        for path in ("/consumers", "/consumers/%2F"):
            (one,) = await http.get(path)
            assert (one["consumer_tag"], one["queue"]) == (tag, {"name": "q", "vhost": "/"})
            assert one["ack_required"] is False
    assert (await http.ask("GET", "/consumers/nope")).error == MISSING


async def test_actions_of_mirrored_queues_do_nothing(http: Api) -> None:
    await http.put("/queues/%2F/q")
    for action in ("sync", "cancel_sync"):
        assert (await http.ask("POST", "/queues/%2F/q/actions", {"action": action})).status == 204
    reply = await http.ask("POST", "/queues/%2F/q/actions", {"action": "x"})
    assert reply.error == (400, "bad_request", ["unknown", "x"])
    reply = await http.ask("POST", "/queues/%2F/q/actions", {})
    assert reply.error == (400, "bad_request", "[{key_missing,action}]")
    assert (await http.ask("POST", "/queues/%2F/nope/actions", {"action": "sync"})).error == MISSING


async def test_detailed_lists_show_consumers_too(http: Api) -> None:
    await http.put("/queues/%2F/q")
    (row,) = await http.get("/queues/detailed")
    assert row["consumer_details"] == []
    assert "consumer_details" not in (await http.get("/queues"))[0]


async def test_readers_of_a_stream_show_with_their_lag(http: Api) -> None:
    await http.put("/queues/%2F/s", {"durable": True, "arguments": {"x-queue-type": "stream"}})
    assert await http.get("/x/streams/%2F/s/readers") == []
    await http.put("/queues/%2F/q")
    assert (await http.ask("GET", "/x/streams/%2F/q/readers")).error == MISSING
    async with await aio_pika.connect(http.broker.url) as connection:
        channel = await connection.channel()
        for number in range(3):
            await channel.default_exchange.publish(aio_pika.Message(b"%d" % number), "s")
        await channel.set_qos(1)
        queue = await channel.get_queue("s")
        tag = await queue.consume(ignore, arguments={"x-stream-offset": "first"})
        (reader,) = await http.get("/x/streams/%2F/s/readers")
        assert (reader["name"], reader["consumers"]) == (tag, 1)
        assert reader["lag"] in (2, 3)


async def test_groups_show_who_has_which_key(http: Api) -> None:
    await http.put("/queues/%2F/g", {"durable": True, "arguments": {"x-group-header": "k"}})
    assert await http.get("/x/groups/%2F/g") == []
    await http.put("/queues/%2F/q")
    assert (await http.ask("GET", "/x/groups/%2F/q")).error == MISSING
    assert "lanes" not in await http.get("/queues/%2F/q")
    async with await aio_pika.connect(http.broker.url) as connection:
        channel = await connection.channel()
        for key in ("a", "a", "b"):
            await channel.default_exchange.publish(aio_pika.Message(b"", headers={"k": key}), "g")
        await channel.set_qos(1)
        queue = await channel.get_queue("g")
        tag = await queue.consume(ignore)
        found = await http.get("/x/groups/%2F/g")
        assert [(row["key"], row["consumer_tag"]) for row in found] == [("a", tag), ("b", None)]
        assert [(row["messages_waiting"], row["messages_unacknowledged"]) for row in found] == [
            (1, 1),
            (1, 0),
        ]
        lanes = (await http.get("/queues/%2F/g"))["lanes"]
        assert (lanes["groups"], lanes["groups_locked"], lanes["tenants"]) == (2, 1, 0)


async def test_rights_in_the_virtual_host_count(http: Api) -> None:
    await http.add_user("ann", "management", allowed="^ann")
    assert await http.put("/queues/%2F/ann-1", user="ann") == 201
    reply = await http.ask("PUT", "/queues/%2F/other", {}, user="ann")
    assert reply.error == (
        401,
        "not_authorised",
        "ACCESS_REFUSED - access to queue 'other' in vhost '/' refused for user 'ann'",
    )
    await http.put("/queues/%2F/other")
    for method, path in (("DELETE", ""), ("DELETE", "/contents")):
        reply = await http.ask(method, f"/queues/%2F/other{path}", user="ann")
        assert (reply.status, reply.json["error"]) == (401, "not_authorised")
    assert len(await http.get("/queues/%2F", user="ann")) == 2, "all queues of one's virtual hosts show"


async def test_the_queues_of_other_virtual_hosts_are_hidden(http: Api) -> None:
    await http.put("/vhosts/v")
    await http.put("/queues/v/q")
    await http.put("/queues/%2F/q")
    await http.add_user("ann", "management", vhost="v")
    await http.add_user("moni", "monitoring", vhost="v")
    await http.add_user("root", "administrator", vhost="")
    refused = (401, "not_authorised", "User not authorised to access virtual host")
    for user in ("ann", "moni"):
        assert [row["vhost"] for row in await http.get("/queues", user=user)] == ["v"]
        assert (await http.ask("GET", "/queues/%2F", user=user)).error == refused
        assert (await http.ask("GET", "/queues/%2F/q", user=user)).error == refused
    assert len(await http.get("/queues", user="root")) == 2, "administrators see all"
    assert (await http.ask("PUT", "/queues/v/r", {}, user="root")).status == 401, "and may not all"


async def test_a_durable_queue_is_there_when_it_is_confirmed(http: Api) -> None:
    names = [f"q{number}" for number in range(20)]
    for name in names:
        await http.put(f"/queues/%2F/{segment(name)}", {"durable": True})
    assert sorted(names) == [row["name"] for row in await http.get("/queues/%2F?columns=name")]
