"""Settings from RabbitMQ's own configuration file: the keys of rabbitmq.conf that mean something here.

The format is ``key = value`` with ``#`` comments. What RabbitMQ has and this broker has not is said in a
notice and stops nothing: an existing file must not keep the broker from starting.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harebell.settings.errors import Notice, nearest
from harebell.settings.layers import Layer

_LINE = re.compile(r"\s*([A-Za-z0-9_.:/@-]+)\s*=\s*(.*?)\s*$")

# Keys with the same meaning and unit, or one that a function below converts.
_SAME = {
    "default_user": "auth.default_user",
    "default_pass": "auth.default_pass",
    "default_vhost": "auth.default_vhost",
    "heartbeat": "amqp.heartbeat",
    "frame_max": "amqp.frame_max",
    "channel_max": "amqp.channel_max",
    "max_message_size": "amqp.max_message_size",
    "consumer_timeout": "queue.consumer_timeout",
    "default_queue_type": "queue.default_queue_type",
    "vm_memory_high_watermark.relative": "limits.memory_high_watermark",
    "cluster_name": "compat.cluster_name",
    "tcp_listen_options.backlog": "server.backlog",
    "load_definitions": "management.load_definitions",
    "management.load_definitions": "management.load_definitions",
    "definitions.local.path": "management.load_definitions",
    "definitions.skip_if_unchanged": "management.skip_unchanged_definitions",
    "disk_free_limit.absolute": "limits.disk_free_limit",
    "management.listener.port": "management.port",
    "management.path_prefix": "management.path_prefix",
    "management.ssl.port": "management.tls_port",
    "management.tcp.port": "management.port",
    "prometheus.ssl.port": "metrics.tls_port",
    "prometheus.tcp.port": "metrics.port",
    "ssl_cert_login_san_index": "auth.ssl_cert_login_san_index",
    "ssl_cert_login_san_type": "auth.ssl_cert_login_san_type",
    "ssl_options.cacertfile": "tls.ca",
    "ssl_options.certfile": "tls.certificate",
    "ssl_options.keyfile": "tls.key",
    "ssl_options.password": "tls.key_password",
}


def _milliseconds(value: str) -> str:
    return f"{value}ms" if value.isdigit() else value


def _unlimited(value: str) -> str:
    return "0" if value == "infinity" else value


def _absolute_memory(value: str) -> str:
    return f"{value}B" if value.isdigit() else value


def _level(value: str) -> str:
    return {"notice": "info", "none": "critical", "alert": "critical", "emergency": "critical"}.get(
        value, value
    )


def _formatter(value: str) -> str:
    return "json" if value == "json" else "text"


def _certificate_name(value: str) -> str:
    return "subject_alternative_name" if value == "subject_alt_name" else value


_CONVERTED: dict[str, tuple[str, Callable[[str], str]]] = {
    "handshake_timeout": ("server.handshake_timeout", _milliseconds),
    "channel_max_per_node": ("limits.max_channels", _unlimited),
    "connection_max": ("limits.max_connections", _unlimited),
    "vm_memory_high_watermark.absolute": ("limits.memory_high_watermark", _absolute_memory),
    "log.level": ("log.level", _level),
    "log.console.level": ("log.level", _level),
    "log.default.level": ("log.level", _level),
    "log.console.formatter": ("log.format", _formatter),
    "log.file.formatter": ("log.format", _formatter),
    "log.file.level": ("log.level", _level),
    "ssl_cert_login_from": ("auth.ssl_cert_login_from", _certificate_name),
}

_CATEGORY_LEVEL = re.compile(r"log\.([a-z_]+)\.level")
_EVERYWHERE = ["0.0.0.0/0", "::/0"]

# Keys of RabbitMQ that are understood and have no effect here; a trailing dot stands for all that begins so.
_NO_EFFECT = (
    "auth_backends.", "background_gc_enabled", "classic_queue.", "cluster_formation.",
    "cluster_keepalive_interval", "cluster_partition_handling", "collect_statistics",
    "collect_statistics_interval", "default_permissions.", "default_user_tags.", "default_users.",
    "definitions.", "deprecated_features.", "disk_free_limit.",
    "log.", "management.", "management_agent.", "mirroring_", "mqtt.", "net_ticktime", "num_acceptors.",
    "password_hashing_module", "prometheus.", "queue_index_embed_msgs_below",
    "queue_leader_locator", "queue_master_locator", "quorum_queue.", "raft.", "ssl_handshake_timeout",
    "ssl_options.", "stomp.", "stream.", "tcp_listen_options.", "total_memory_available_override_value",
    "vm_memory_calculation_strategy", "vm_memory_high_watermark_paging_ratio", "web_mqtt.", "web_stomp.",
)  # fmt: skip


def read_rabbitmq_conf(path: Path) -> Layer:
    """Read one rabbitmq.conf.

    Args:
        path: the file; one that cannot be read is a problem of the layer, not an exception.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        return Layer(problems=[f"{path}: cannot be read: {error.strerror or error}"])
    except UnicodeDecodeError:
        return Layer(problems=[f"{path}: is not text in UTF-8"])
    return _Conf(path).read(text)


class _Conf:
    """One pass over a file; lists spread over several keys are put together at its end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._layer = Layer()
        self._listeners: dict[str, tuple[str, str]] = {}
        self._loopback: dict[str, bool] = {}
        self._mechanisms: dict[str, str] = {}
        self._levels: dict[str, str] = {}
        self._tls: dict[str, str] = {}
        self._origins: dict[str, str] = {}

    def read(self, text: str) -> Layer:
        for number, line in enumerate(text.splitlines(), start=1):
            bare = line.strip()
            if not bare or bare.startswith(("#", "%")):
                continue
            origin = f"{self._path}:{number}"
            if match := _LINE.match(bare):
                self._entry(match[1], _value(match[2]), origin)
            else:
                self._layer.problems.append(f"{origin}: expected 'key = value'")
        self._finish()
        return self._layer

    def _entry(self, key: str, value: str, origin: str) -> None:
        if key in _SAME:
            self._layer.put(_SAME[key], value, origin)
        elif key in _CONVERTED:
            name, convert = _CONVERTED[key]
            self._layer.put(name, convert(value), origin)
        elif key.startswith("listeners.tcp"):
            self._listeners[key] = (value, origin)
        elif key.startswith("listeners.ssl"):
            self._tls_port(key, value, origin)
        elif key.startswith(("ssl_options.verify", "ssl_options.fail_if", "ssl_options.versions.")):
            self._origins[key] = origin
            self._tls[key] = value
        elif key == "proxy_protocol":
            self._proxy_protocol(value, origin)
        elif key == "log.file" and value.startswith("/"):
            self._layer.put("log.file", value, origin)
        elif match := _CATEGORY_LEVEL.fullmatch(key):
            self._origins["levels"] = origin
            self._levels[match[1]] = _level(value)
        elif key.startswith("loopback_users"):
            self._origins["loopback"] = origin
            if key == "loopback_users":
                self._loopback = {} if value == "none" else {value: True}
                self._loopback.setdefault("guest", False)
            else:
                self._loopback[key.partition(".")[2]] = value == "true"
        elif key == "definitions.import_backend":
            if value not in ("local", "local_filesystem"):
                text = f"{origin}: definitions are imported from files only, not from {value!r}: ignored"
                self._layer.notices.append(Notice("warning", text))
        elif key.startswith("auth_mechanisms."):
            self._origins["mechanisms"] = origin
            self._mechanisms[key.partition(".")[2]] = value
        elif key.startswith(_NO_EFFECT):
            self._layer.notices.append(Notice("info", f"{origin}: {key} has no effect here"))
        else:
            hint = nearest(key, [*_SAME, *_CONVERTED, "listeners.tcp.default", "loopback_users.guest"])
            self._layer.notices.append(Notice("warning", f"{origin}: unknown key {key!r}{hint}: ignored"))

    def _finish(self) -> None:
        if self._loopback:
            users = {"guest": True, **self._loopback}
            self._put("auth.loopback_users", [user for user, only in users.items() if only], "loopback")
        if self._mechanisms:
            self._put("auth.mechanisms", list(self._mechanisms.values()), "mechanisms")
        if self._levels:
            self._put("log.levels", [f"{name}={level}" for name, level in self._levels.items()], "levels")
        self._finish_tls()
        self._bind()

    def _tls_port(self, key: str, value: str, origin: str) -> None:
        port = value.rpartition(":")[2]
        if port.isdigit():
            self._layer.put("tls.port", port, origin)
        if port != value:
            text = f"{origin}: sets the port only; server.bind says on which addresses"
            self._layer.notices.append(Notice("info", text))

    def _finish_tls(self) -> None:
        """Put together what RabbitMQ spreads over several keys of TLS."""
        tls = self._tls
        if (verify := tls.get("ssl_options.verify")) is not None:
            must = tls.get("ssl_options.fail_if_no_peer_cert") == "true"
            mode = "none" if verify == "verify_none" else "required" if must else "optional"
            self._put("tls.verify", mode, "ssl_options.verify")
        versions = {value: key for key, value in tls.items() if key.startswith("ssl_options.versions.")}
        if versions and "tlsv1.2" not in versions and "tlsv1.3" in versions:
            self._put("tls.min_version", "1.3", versions["tlsv1.3"])

    def _proxy_protocol(self, value: str, origin: str) -> None:
        self._layer.put("server.proxy_protocol", value, origin)
        if value == "true":
            # RabbitMQ knows no trusted networks; the load balancer must work as it did.
            self._layer.put("server.proxy_trusted", _EVERYWHERE, origin)
            text = (
                f"{origin}: PROXY headers are believed from everywhere; name networks in server.proxy_trusted"
            )
            self._layer.notices.append(Notice("warning", text))

    def _put(self, key: str, value: Any, origin: str) -> None:
        self._layer.put(key, value, self._origins[origin])

    def _bind(self) -> None:
        addresses = []
        for value, origin in self._listeners.values():
            if value == "none":
                self._layer.put("server.plain", "false", origin)
            elif value.isdigit():
                self._layer.put("server.port", value, origin)
                text = f"{origin}: sets the port only; server.bind says on which addresses"
                self._layer.notices.append(Notice("info", text))
            else:
                host, _, port = value.rpartition(":")  # RabbitMQ writes `:::5672` for any address
                addresses.append(f"[{host}]:{port}" if ":" in host and host[0] != "[" else value)
                self._origins["bind"] = origin
        if addresses:
            self._put("server.bind", addresses, "bind")


def _value(text: str) -> str:
    """Strip a trailing comment and the single quotes RabbitMQ allows around a value."""
    if len(text) >= 2 and text[0] == text[-1] == "'":
        return text[1:-1]
    return re.sub(r"\s+#.*$", "", text)
