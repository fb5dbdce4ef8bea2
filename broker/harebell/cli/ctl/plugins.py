"""``rabbitmq-plugins``: harebell has no plugins, and what images and charts enable is there already."""

from __future__ import annotations

from harebell.cli.ctl.call import Call, Command, Refusal
from harebell.cli.exits import DATA

BUILT_IN = (
    "rabbitmq_consistent_hash_exchange",
    "rabbitmq_management",
    "rabbitmq_management_agent",
    "rabbitmq_prometheus",
    "rabbitmq_random_exchange",
    "rabbitmq_recent_history_exchange",
    "rabbitmq_sharding",
)


def list_plugins(call: Call) -> int | None:
    """Lists what RabbitMQ has as plugins and harebell has built in."""
    pattern = call.arguments[0] if call.arguments else ""
    found = [name for name in BUILT_IN if pattern in name]
    if call.formatter == "json":
        call.document(
            {"plugins": [{"name": name, "enabled": "enabled", "running": True} for name in found]}, []
        )
    elif call.quiet or call.silent or "minimal" in call.options:
        print("\n".join(found))
    else:
        call.banner('Listing plugins with pattern "%s" ...' % (pattern or ".*"))
        print("\n".join(f"[E*] {name}" for name in found))
    return None


def enable(call: Call) -> int | None:
    """Enables plugins: what is built in is there, and anything else is told about."""
    call.banner("Enabling plugins: all that harebell has is built in")
    unknown = [name for name in call.arguments if name not in BUILT_IN]
    for name in unknown:
        print(f"harebell has no {name}: ignored")
    return None


def disable(call: Call) -> int | None:
    """Disables plugins: nothing built in can be taken out."""
    call.banner("Nothing was disabled: what harebell has is built in")
    return None


def is_enabled(call: Call) -> int | None:
    """Tells whether plugins are enabled."""
    missing = [name for name in call.arguments if name not in BUILT_IN]
    if missing:
        raise Refusal(f"Plugin(s) {', '.join(missing)} are not enabled", DATA)
    call.say(f"Plugin(s) {', '.join(call.arguments)} are enabled")
    return None


MODES = ("offline", "online", "all")

COMMANDS = {
    "list": Command(list_plugins, "[<pattern>]", ("minimal", "verbose", "enabled", "implicitly-enabled")),
    "enable": Command(enable, "[<plugin>, ...]", MODES),
    "disable": Command(disable, "[<plugin>, ...]", MODES),
    "set": Command(enable, "[<plugin>, ...]", MODES),
    "is_enabled": Command(is_enabled, "<plugin> [<plugin>, ...]", MODES),
}
