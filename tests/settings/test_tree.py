"""The tree of settings: its defaults are RabbitMQ's, its limits hold, secrets stay hidden."""

import pytest
from pydantic import ValidationError

from harebell.settings import Amqp, Auth, Compat, Limits, Server, Settings, split_address


def test_defaults_are_what_clients_of_rabbitmq_expect() -> None:
    settings = Settings()
    assert settings.server.listeners() == (("127.0.0.1", 5672), ("::1", 5672))
    assert (settings.amqp.frame_max, settings.amqp.channel_max, settings.amqp.heartbeat) == (131072, 2047, 60)
    assert settings.amqp.max_message_size == 16 * 1024 * 1024
    assert (settings.auth.default_user, settings.auth.default_pass.get_secret_value()) == ("guest", "guest")
    assert settings.auth.loopback_users == ("guest",)
    assert settings.queue.consumer_timeout == 1_800_000
    assert (settings.compat.product, settings.compat.version) == ("RabbitMQ", "3.13.7")


def test_settings_never_change_after_loading() -> None:
    settings = Settings()
    with pytest.raises(ValidationError, match="frozen"):
        settings.server.port = 1


def test_listeners_take_any_free_port_where_amqp_does_unless_theirs_is_named() -> None:
    free = Settings.model_validate({"server": {"port": 0, "bind": "127.0.0.1"}})
    assert free.tls_listeners() == free.https_listeners(free.management) == (("127.0.0.1", 0),)
    named = Settings.model_validate(
        {"server": {"port": 0, "bind": "127.0.0.1"}, "tls": {"port": 5671}, "management": {"tls_port": 15671}}
    )
    assert named.tls_listeners() == (("127.0.0.1", 5671),)
    assert named.https_listeners(named.management) == (("127.0.0.1", 15671),)
    several = Settings.model_validate({"server": {"bind": "127.0.0.1, 127.0.0.1:5673, [::1]:5674"}})
    assert several.tls_listeners() == (("127.0.0.1", 5671), ("::1", 5671))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"server": {"plain": False}}, "nothing would listen"),
        ({"server": {"proxy_protocol": True}}, "server.proxy_trusted"),
        ({"server": {"proxy_trusted": "10.0.0.0/33"}}, "10.0.0.0/33"),
        ({"server": {"proxy_trusted": "balancer"}}, "balancer"),
        ({"log": {"levels": "connection"}}, "category=level"),
        ({"log": {"levels": "connection=loud"}}, "category=level"),
        ({"auth": {"ssl_cert_login_from": "serial_number"}}, "distinguished_name"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_a_hint(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Settings.model_validate(settings)


def test_the_password_does_not_show_when_settings_are_printed() -> None:
    settings = Settings(auth=Auth.model_validate({"default_pass": "correct horse"}))
    assert "correct horse" not in repr(settings)
    assert "correct horse" not in settings.model_dump_json()


@pytest.mark.parametrize("size", [1, 4095, -1, 2**31])
def test_frame_max_is_zero_or_at_least_4096(size: int) -> None:
    with pytest.raises(ValidationError):
        Amqp(frame_max=size)


@pytest.mark.parametrize("size", [0, 4096, 131072, 2**31 - 1])
def test_frame_max_may_be_unlimited_or_any_size_from_4096(size: int) -> None:
    assert Amqp(frame_max=size).frame_max == size


@pytest.mark.parametrize("version", ["v3.13", "three", "", "-1"])
def test_a_version_that_clients_could_not_parse_is_refused(version: str) -> None:
    # kombu calls int() on each dotted part.
    with pytest.raises(ValidationError):
        Compat(version=version)


def test_mechanisms_are_known_ones_in_upper_case() -> None:
    assert Auth.model_validate({"mechanisms": "plain"}).mechanisms == ("PLAIN",)
    with pytest.raises(ValidationError, match="choose from PLAIN"):
        Auth.model_validate({"mechanisms": ["GSSAPI"]})
    with pytest.raises(ValidationError, match="at least one"):
        Auth(mechanisms=())


@pytest.mark.parametrize(
    ("entry", "address"),
    [
        ("127.0.0.1", ("127.0.0.1", None)),
        ("localhost:5673", ("localhost", 5673)),
        ("::1", ("::1", None)),
        ("[::1]", ("::1", None)),
        ("[::]:5673", ("::", 5673)),
        ("0.0.0.0:0", ("0.0.0.0", 0)),
    ],
)
def test_an_address_may_carry_a_port(entry: str, address: tuple[str, int | None]) -> None:
    assert split_address(entry) == address


@pytest.mark.parametrize(
    "entry",
    [
        "",
        " ",
        ":5672",
        "host:",
        "host:port",
        "host:65536",
        "1:2:3",
        "[::1",
        "[::1]5672",
        "[::1]:",
        "[host]:1",
        "a b",
    ],
)
def test_an_address_that_cannot_be_one_is_refused(entry: str) -> None:
    with pytest.raises(ValueError):
        split_address(entry)


def test_each_address_is_listened_on_once_with_the_common_port_by_default() -> None:
    server = Server(bind=("127.0.0.1", "127.0.0.1:5673", "127.0.0.1"), port=5672)
    assert server.listeners() == (("127.0.0.1", 5672), ("127.0.0.1", 5673))


def test_an_empty_list_of_addresses_is_refused() -> None:
    with pytest.raises(ValidationError, match="at least one address"):
        Server(bind=())


def test_the_memory_mark_is_a_share_of_what_there_is_or_a_size() -> None:
    assert Limits(memory_high_watermark=0.5).memory_limit(1000) == 500
    assert Limits(memory_high_watermark=4096).memory_limit(1000) == 4096
    assert Limits(memory_high_watermark=0.5).memory_limit(0) == 0, "a share of an unknown size is no limit"
    assert Limits(memory_high_watermark=0).memory_limit(1000) == 1, "0 blocks every publisher, as in RabbitMQ"
