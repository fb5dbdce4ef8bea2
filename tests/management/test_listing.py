"""Lists: filter, order, pages, columns; as observed on RabbitMQ 3.10.8."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.management import Api

THREE = ["list-a", "list-b", "list-c"]


@pytest.fixture
async def listed(http: Api) -> Api:
    """Three queues in a virtual host of their own."""
    await http.put("/vhosts/v")
    for name in THREE:
        await http.put(f"/queues/v/{name}")
    return http


def names(rows: Any) -> list[str]:
    return [row["name"] for row in rows]


async def test_a_page_says_how_many_there_are(listed: Api) -> None:
    page = await listed.get("/queues/v?page=2&page_size=2&columns=name")
    assert page == {
        "filtered_count": 3,
        "item_count": 1,
        "items": [{"name": "list-c"}],
        "page": 2,
        "page_count": 2,
        "page_size": 2,
        "total_count": 3,
    }


async def test_the_first_page_of_nothing_is_empty(listed: Api) -> None:
    page = await listed.get("/queues/v?page=1&name=nope")
    assert (page["items"], page["page_count"], page["filtered_count"], page["total_count"]) == ([], 0, 0, 3)


@pytest.mark.parametrize(
    ("query", "error", "reason"),
    [
        ("page=x", "bad_request", "Pagination parameters are invalid"),
        ("page=", "bad_request", "Pagination parameters are invalid"),
        ("page=1&page_size=x", "bad_request", "Pagination parameters are invalid"),
        (
            "page=0",
            "invalid_pagination_parameters",
            "Invalid pagination parameters: page number 0, page size undefined",
        ),
        (
            "page=-1",
            "invalid_pagination_parameters",
            "Invalid pagination parameters: page number -1, page size undefined",
        ),
        (
            "page=1&page_size=0",
            "invalid_pagination_parameters",
            "Invalid pagination parameters: page number 1, page size 0",
        ),
        (
            "page=1&page_size=501",
            "invalid_pagination_parameters",
            "Invalid pagination parameters: page number 1, page size 501",
        ),
        ("page=9", "page_out_of_range", "Page out of range, page: 9 page size: 100, len: 3"),
    ],
)
async def test_pages_that_make_no_sense_are_bad_requests(
    listed: Api, query: str, error: str, reason: str
) -> None:
    assert (await listed.ask("GET", f"/queues/v?{query}")).error == (400, error, reason)


@pytest.mark.parametrize("name", ["%28", "%5B", "%2A", "a" * 1025, "(a%2B)%2B$", "((a%2B)%2B)%2B$"])
async def test_patterns_that_are_none_or_could_take_for_ever_are_bad_requests(listed: Api, name: str) -> None:
    reply = await listed.ask("GET", f"/queues/v?page=1&use_regex=true&name={name}")
    assert (reply.status, reply.json["error"]) == (400, "bad_request")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("page=1&name=T-B", ["list-b"]),
        ("page=1&name=list", THREE),
        ("page=1&name=", THREE),
        ("page=1&name=%5El.*%5Bbc%5D$&use_regex=true", ["list-b", "list-c"]),
        ("page=1&name=%5ELIST-A&use_regex=true", ["list-a"]),
        ("page=1&name=a%7Cc&use_regex=true", ["list-a", "list-c"]),
        ("page=1&name=%5Elist-.*&use_regex=true", THREE),
        ("page=1&name=%5E&use_regex=1", []),
        ("page=1&use_regex=true", THREE),
        ("page=1&pagination=false", THREE),
        ("name=b", THREE),
        ("page_size=2", THREE),
        ("sort=name&sort_reverse=true", THREE[::-1]),
        ("sort=name&sort_reverse=x", THREE),
        ("sort_reverse=true", THREE),
        ("sort=nope", THREE),
        ("sort=arguments.nope", THREE),
        ("page=1&page_size=1&sort=name&sort_reverse=true", ["list-c"]),
        ("page=1&page_size=2&sort=messages&sort_reverse=true", ["list-b", "list-c"]),
    ],
)
async def test_lists_are_filtered_and_ordered(listed: Api, query: str, expected: list[str]) -> None:
    message = {"routing_key": "list-b", "properties": {}, "payload": "x", "payload_encoding": "string"}
    await listed.ask("POST", "/exchanges/v/amq.default/publish", message)
    found = await listed.get(f"/queues/v?{query}")
    if query.startswith("page=1"):
        found = found["items"]
    if "sort=messages" in query:
        assert names(found)[0] == "list-b"
        return
    assert names(found) == expected


@pytest.mark.parametrize(
    ("columns", "row"),
    [
        ("name", {"name": "list-a"}),
        ("name,name,vhost", {"name": "list-a", "vhost": "v"}),
        ("messages_details.rate,name", {"messages_details": {"rate": 0.0}, "name": "list-a"}),
        ("arguments.x,name", {"arguments": {}, "name": "list-a"}),
        ("name.x.y", []),
        ("nope", []),
        ("", []),
    ],
)
async def test_columns_pick_fields_and_an_empty_object_is_a_list(
    listed: Api, columns: str, row: object
) -> None:
    assert (await listed.get(f"/queues/v?columns={columns}"))[0] == row
    assert await listed.get(f"/queues/v/list-a?columns={columns}") == row


async def test_statistics_can_be_left_out(listed: Api) -> None:
    (row, *_) = await listed.get("/queues/v?disable_stats=true")
    declared = {"arguments", "auto_delete", "durable", "exclusive", "name", "node", "type", "vhost"}
    assert set(row) == declared
    (row, *_) = await listed.get("/queues/v?disable_stats=true&enable_queue_totals=true")
    assert set(row) == declared | {"messages", "messages_ready", "messages_unacknowledged", "state"}


async def test_rates_of_the_past_are_added_when_they_are_asked_for(listed: Api) -> None:
    row = await listed.get("/queues/v/list-a?lengths_age=60&lengths_incr=5")
    assert len(row["messages_details"]["samples"]) == 13
    for query in ("lengths_age=x&lengths_incr=5", "lengths_age=60", "lengths_age=5&lengths_incr=60"):
        row = await listed.get(f"/queues/v/list-a?{query}")
        assert "samples" not in row["messages_details"]


async def test_what_is_paged_and_what_is_not(listed: Api) -> None:
    for path in ("/queues", "/exchanges", "/vhosts", "/users", "/connections", "/channels"):
        assert "items" in await listed.get(f"{path}?page=1"), path
    for path in ("/bindings", "/consumers", "/nodes", "/permissions"):
        assert isinstance(await listed.get(f"{path}?page=1"), list), path


async def test_lists_without_an_order_are_by_vhost_and_name(http: Api) -> None:
    for vhost in ("w", "b"):
        await http.put(f"/vhosts/{vhost}")
        for name in ("z", "A", "m"):
            await http.put(f"/queues/{vhost}/{name}")
    found = [(row["vhost"], row["name"]) for row in await http.get("/queues")]
    assert found == [("b", "A"), ("b", "m"), ("b", "z"), ("w", "A"), ("w", "m"), ("w", "z")]


async def test_an_order_mixes_values_of_any_type(http: Api) -> None:
    arguments = [{}, {"x": 2}, {"x": "text"}, {"x": 1}, {"x": True}, {"x": [1]}, {"x": {"y": 1}}]
    for number, table in enumerate(arguments):
        await http.put(f"/exchanges/%2F/e{number}", {"type": "direct", "arguments": table})
    found = await http.get("/exchanges?sort=arguments.x&page=1")
    assert names(found["items"])[:2] == ["e3", "e1"], "numbers come first"
