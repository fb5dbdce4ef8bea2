"""rabbitmq.conf: the keys that mean something here, and the others, which never stop the broker."""

from pathlib import Path

import pytest

from harebell.settings import ConfigFiles, SettingsError, load
from harebell.settings.layers import Layer
from harebell.settings.rabbitmq_conf import read_rabbitmq_conf

TYPICAL = """\
# a typical file
listeners.tcp.default = 5673
default_user = admin
default_pass = 'se#cret'
default_vhost = orders   # with a comment
loopback_users = none
heartbeat = 30
channel_max = 512
frame_max = 65536
max_message_size = 134217728
consumer_timeout = 3600000
handshake_timeout = 20000
vm_memory_high_watermark.relative = 0.4
connection_max = infinity
log.console = true
log.console.level = warning
log.console.formatter = json
auth_mechanisms.1 = PLAIN
auth_mechanisms.2 = AMQPLAIN
default_queue_type = quorum
cluster_name = production
tcp_listen_options.backlog = 4096
tcp_listen_options.nodelay = true
disk_free_limit.absolute = 2GB
management.tcp.port = 15672
"""


def read(tmp_path: Path, text: str) -> Layer:
    path = tmp_path / "rabbitmq.conf"
    path.write_text(text)
    return read_rabbitmq_conf(path)


def test_a_typical_file_sets_what_it_sets_in_rabbitmq(tmp_path: Path) -> None:
    path = tmp_path / "rabbitmq.conf"
    path.write_text(TYPICAL)
    loaded = load(environ={}, files=ConfigFiles(rabbitmq=(path,)))
    settings = loaded.settings
    assert settings.server.port == 5673
    assert settings.server.backlog == 4096
    assert settings.server.handshake_timeout == pytest.approx(20.0)
    assert settings.auth.default_user == "admin"
    assert settings.auth.default_pass.get_secret_value() == "se#cret"
    assert settings.auth.default_vhost == "orders"
    assert settings.auth.loopback_users == ()
    assert settings.auth.mechanisms == ("PLAIN", "AMQPLAIN")
    assert (settings.amqp.heartbeat, settings.amqp.channel_max, settings.amqp.frame_max) == (30, 512, 65536)
    assert settings.amqp.max_message_size == 134217728
    assert settings.queue.consumer_timeout == 3_600_000
    assert settings.queue.default_queue_type == "quorum"
    assert settings.limits.memory_high_watermark == 0.4
    assert settings.limits.max_connections == 0
    assert (settings.log.level, settings.log.format) == ("warning", "json")
    assert settings.compat.cluster_name == "production"
    assert loaded.origin("auth.default_user") == f"{path}:3"
    assert all(notice.level == "info" for notice in loaded.notices)


def test_keys_without_effect_here_leave_a_remark(tmp_path: Path) -> None:
    layer = read(tmp_path, "net_ticktime = 60\ncluster_formation.peer_discovery_backend = dns\n")
    assert layer.values == {}
    assert [notice.level for notice in layer.notices] == ["info", "info"]


def test_an_unknown_key_is_a_warning_that_names_the_nearest(tmp_path: Path) -> None:
    layer = read(tmp_path, "\nheartbeet = 10\n")
    assert layer.problems == []
    assert layer.notices[0].level == "warning"
    assert ":2: unknown key 'heartbeet' (did you mean 'heartbeat'?): ignored" in layer.notices[0].text


def test_a_line_that_is_no_entry_is_a_problem(tmp_path: Path) -> None:
    layer = read(tmp_path, "[{rabbit, [{tcp_listeners, [5672]}]}].\n")
    assert layer.problems == [f"{tmp_path}/rabbitmq.conf:1: expected 'key = value'"]


@pytest.mark.parametrize(
    ("lines", "users"),
    [
        ("loopback_users = none", []),
        ("loopback_users.guest = false", []),
        ("loopback_users.guest = true", ["guest"]),
        ("loopback_users.admin = true", ["guest", "admin"]),
        ("loopback_users.guest = false\nloopback_users.admin = true", ["admin"]),
    ],
)
def test_loopback_users_begin_with_guest(tmp_path: Path, lines: str, users: list[str]) -> None:
    assert read(tmp_path, lines).values["auth.loopback_users"][0] == users


def test_listeners_with_an_address_replace_the_addresses(tmp_path: Path) -> None:
    text = "listeners.tcp.1 = 192.168.1.99:5672\nlisteners.tcp.2 = :::5673\nlisteners.tcp.3 = [::1]:5674\n"
    layer = read(tmp_path, text)
    path = tmp_path / "rabbitmq.conf"
    loaded = load(environ={}, files=ConfigFiles(rabbitmq=(path,)))
    assert loaded.settings.server.listeners() == (("192.168.1.99", 5672), ("::", 5673), ("::1", 5674))
    assert layer.notices == []


def test_a_bare_port_does_not_open_the_broker_to_the_network(tmp_path: Path) -> None:
    layer = read(tmp_path, "listeners.tcp.default = 5673\n")
    assert "server.bind" not in layer.values
    assert "server.bind says on which addresses" in layer.notices[0].text


@pytest.mark.parametrize(("value", "mark"), [("2GB", 2 * 10**9), ("1073741824", 2**30), ("512MiB", 2**29)])
def test_an_absolute_memory_mark_is_a_size(tmp_path: Path, value: str, mark: int) -> None:
    path = tmp_path / "rabbitmq.conf"
    path.write_text(f"vm_memory_high_watermark.absolute = {value}\n")
    settings = load(environ={}, files=ConfigFiles(rabbitmq=(path,))).settings
    assert settings.limits.memory_high_watermark == mark


TLS = """\
listeners.tcp = none
listeners.ssl.default = 5681
ssl_options.cacertfile = /certs/ca.pem
ssl_options.certfile = /certs/server.pem
ssl_options.keyfile = /certs/server.key
ssl_options.password = secret
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = true
ssl_options.versions.1 = tlsv1.3
ssl_cert_login_from = common_name
auth_mechanisms.1 = EXTERNAL
management.ssl.port = 15681
management.tcp.port = 15682
prometheus.tcp.port = 15682
channel_max_per_node = 500
disk_free_limit.absolute = 50MB
log.file = /var/log/rabbitmq/rabbit.log
log.connection.level = error
log.channel.level = none
"""


def test_tls_ports_and_levels_of_categories_are_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "rabbitmq.conf"
    path.write_text(TLS)
    loaded = load(environ={}, files=ConfigFiles(rabbitmq=(path,)))
    settings = loaded.settings
    tls = settings.tls
    assert (tls.port, tls.verify, tls.min_version) == (5681, "required", "1.3")
    assert [str(each) for each in (tls.ca, tls.certificate, tls.key)] == [
        "/certs/ca.pem",
        "/certs/server.pem",
        "/certs/server.key",
    ]
    assert tls.key_password.get_secret_value() == "secret"
    assert settings.plain_listeners() == ()
    assert settings.tls_listeners() == (("127.0.0.1", 5681), ("::1", 5681))
    assert settings.auth.ssl_cert_login_from == "common_name"
    assert settings.auth.mechanisms == ("EXTERNAL",)
    assert (settings.management.port, settings.management.tls_port, settings.metrics.port) == (
        15682,
        15681,
        15682,
    )
    assert (settings.limits.max_channels, settings.limits.disk_free_limit) == (500, 50_000_000)
    assert str(settings.log.file) == "/var/log/rabbitmq/rabbit.log"
    assert settings.log.category_levels() == (("connection", "error"), ("channel", "critical"))
    assert loaded.notices == ()


@pytest.mark.parametrize(
    ("lines", "mode"),
    [
        ("ssl_options.verify = verify_none", "none"),
        ("ssl_options.verify = verify_peer", "optional"),
        ("ssl_options.verify = verify_peer\nssl_options.fail_if_no_peer_cert = false", "optional"),
        ("ssl_options.fail_if_no_peer_cert = true\nssl_options.verify = verify_peer", "required"),
        ("ssl_options.verify = verify_none\nssl_options.fail_if_no_peer_cert = true", "none"),
    ],
)
def test_two_keys_say_whether_clients_must_show_a_certificate(tmp_path: Path, lines: str, mode: str) -> None:
    assert read(tmp_path, lines).values["tls.verify"][0] == mode


def test_the_proxy_protocol_is_believed_from_everywhere_as_in_rabbitmq_and_that_is_said(
    tmp_path: Path,
) -> None:
    layer = read(tmp_path, "proxy_protocol = true\n")
    assert layer.values["server.proxy_protocol"][0] == "true"
    assert layer.values["server.proxy_trusted"][0] == ["0.0.0.0/0", "::/0"]
    assert layer.notices[0].level == "warning"
    assert read(tmp_path, "proxy_protocol = false\n").notices == []


def test_without_tls_and_without_plain_connections_nothing_would_listen(tmp_path: Path) -> None:
    path = tmp_path / "rabbitmq.conf"
    path.write_text("listeners.tcp = none\n")
    with pytest.raises(SettingsError, match="nothing would listen"):
        load(environ={}, files=ConfigFiles(rabbitmq=(path,)))


def test_a_file_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    assert "cannot be read" in read_rabbitmq_conf(tmp_path / "absent.conf").problems[0]
