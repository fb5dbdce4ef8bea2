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


_CONVERTED: dict[str, tuple[str, Callable[[str], str]]] = {
    "handshake_timeout": ("server.handshake_timeout", _milliseconds),
    "connection_max": ("limits.max_connections", _unlimited),
    "vm_memory_high_watermark.absolute": ("limits.memory_high_watermark", _absolute_memory),
    "log.level": ("log.level", _level),
    "log.console.level": ("log.level", _level),
    "log.default.level": ("log.level", _level),
    "log.console.formatter": ("log.format", _formatter),
}

# Keys of RabbitMQ that are understood and have no effect here; a trailing dot stands for all that begins so.
_NO_EFFECT = (
    "auth_backends.", "background_gc_enabled", "classic_queue.", "cluster_formation.",
    "cluster_keepalive_interval", "cluster_partition_handling", "collect_statistics",
    "collect_statistics_interval", "default_permissions.", "default_user_tags.", "default_users.",
    "definitions.", "deprecated_features.", "disk_free_limit.", "listeners.ssl.", "load_definitions",
    "log.", "management.", "management_agent.", "mirroring_", "mqtt.", "net_ticktime", "num_acceptors.",
    "password_hashing_module", "prometheus.", "proxy_protocol", "queue_index_embed_msgs_below",
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
        elif key.startswith("loopback_users"):
            self._origins["loopback"] = origin
            if key == "loopback_users":
                self._loopback = {} if value == "none" else {value: True}
                self._loopback.setdefault("guest", False)
            else:
                self._loopback[key.partition(".")[2]] = value == "true"
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
        self._bind()

    def _put(self, key: str, value: Any, origin: str) -> None:
        self._layer.put(key, value, self._origins[origin])

    def _bind(self) -> None:
        addresses = []
        for key, (value, origin) in self._listeners.items():
            if value == "none":
                self._layer.notices.append(Notice("warning", f"{origin}: {key} = none has no effect here"))
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
