"""Behind a reverse proxy clients are who it says they are; nobody else may say so."""

from __future__ import annotations

import pytest

from harebell.management.forwarding import UNKNOWN, Proxies
from harebell.settings import Settings
from harebell.settings.tree import Management
from tests.support.management import management_api

TRUSTED = ("127.0.0.1/32", "10.0.0.0/8", "fd00::/8")
CLIENT = "192.0.2.7"


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("127.0.0.1", [], "127.0.0.1"),
        ("127.0.0.1", [CLIENT], CLIENT),
        ("127.0.0.1", [f"{CLIENT}, 10.1.1.1"], CLIENT),
        ("127.0.0.1", [CLIENT, "10.1.1.1, 10.1.1.2"], CLIENT),
        ("127.0.0.1", ["127.0.0.1, 192.0.2.8"], "192.0.2.8"),
        ("127.0.0.1", ["10.1.1.1, 10.1.1.2"], "10.1.1.1"),
        ("127.0.0.1", [f"{CLIENT}:4711"], CLIENT),
        ("127.0.0.1", ["[2001:db8::7]:4711"], "2001:db8::7"),
        ("127.0.0.1", ["2001:db8::7"], "2001:db8::7"),
        ("::ffff:127.0.0.1", [f"::ffff:{CLIENT}"], CLIENT),
        ("fd00::1%eth0", [CLIENT], CLIENT),
        ("192.0.2.99", ["127.0.0.1"], "192.0.2.99"),
        ("127.0.0.1", ["unknown"], UNKNOWN),
        ("127.0.0.1", [""], UNKNOWN),
        ("127.0.0.1", ["127.0.0.1,"], UNKNOWN),
        ("127.0.0.1", ["127.0.0.1, _hidden"], UNKNOWN),
    ],
)
def test_the_last_entry_that_no_proxy_wrote_for_another_is_the_client(
    peer: str, forwarded: list[str], expected: str
) -> None:
    assert Proxies(TRUSTED).client(peer, forwarded) == expected


def test_without_trusted_proxies_nobody_is_believed() -> None:
    assert Proxies(()).client("192.0.2.99", ["127.0.0.1"]) == "192.0.2.99"


async def test_guest_cannot_log_in_from_elsewhere_through_a_proxy_on_this_machine() -> None:
    settings = Settings(management=Management(trusted_proxies=("127.0.0.1/32",)))
    async with management_api(settings) as http:
        assert (await http.ask("GET", "/whoami")).status == 200
        for entry in (CLIENT, "unknown", f"127.0.0.1, {CLIENT}"):
            forwarded = {"X-Forwarded-For": entry}
            assert (await http.ask("GET", "/whoami", headers=forwarded)).status == 401, entry
        local = {"X-Forwarded-For": "127.0.0.9"}
        assert (await http.ask("GET", "/whoami", headers=local)).status == 200


async def test_the_audit_log_shows_where_the_client_is() -> None:
    settings = Settings(management=Management(trusted_proxies=("127.0.0.1/32",)))
    async with management_api(settings) as http:
        await http.add_user("ops", "administrator")
        headers = {"X-Forwarded-For": CLIENT}
        assert (await http.ask("PUT", "/vhosts/v1", {}, user="ops", headers=headers)).status == 201
        (newest,) = await http.get("/x/audit?limit=1")
        assert (newest["user"], newest["peer"]) == ("ops", CLIENT)


async def test_without_the_setting_the_header_is_passed_over() -> None:
    async with management_api() as http:
        assert (await http.ask("GET", "/whoami", headers={"X-Forwarded-For": CLIENT})).status == 200


def test_what_is_no_network_is_refused() -> None:
    with pytest.raises(ValueError, match="trusted_proxies"):
        Management(trusted_proxies=("proxy.example",))
