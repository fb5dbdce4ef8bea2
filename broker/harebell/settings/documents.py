"""Documents made from the tree: the annotated TOML file, the reference, the JSON schema, what is in force."""

import json
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from harebell.settings.environment import variable_of
from harebell.settings.layers import flatten, sections
from harebell.settings.loading import Loaded
from harebell.settings.tree import Settings

_WIDTH = 100
_HIDDEN = "********"


def default_file() -> str:
    """Return the annotated configuration file: every setting with its help, commented out at its default."""
    lines = [
        "# Configuration of harebell. Every setting is here, commented out at its default.",
        "#",
        "# Looked for as ./harebell.toml, ~/.config/harebell/harebell.toml, /etc/harebell/harebell.toml",
        "# (with /etc/harebell/conf.d/*.toml), or named with --config or $HAREBELL_CONFIG. Environment",
        "# variables such as HAREBELL_SERVER__PORT and options of the command line win over this file.",
        "#",
        "# `harebell config check` says whether a file can be used, `harebell config show` what is in force.",
    ]
    defaults = flatten(Settings())
    for section, model in sections():
        lines += ["", *_comment(model.__doc__ or ""), f"[{section}]"]
        for name, field in model.model_fields.items():
            lines += ["", *_comment(field.description or "")]
            value = _toml(_plain(defaults[f"{section}.{name}"], reveal=True))
            lines.append(f"# {name} = {value}".rstrip())
    return "\n".join(lines) + "\n"


def reference() -> str:
    """Return ``docs/settings.md``: one table per section with key, default, variable and meaning."""
    lines = [
        "# Settings",
        "",
        "<!-- Generated from the tree of settings by `make generate`; edits here are lost. -->",
        "",
        "A later source wins over an earlier one: defaults, `rabbitmq.conf`, the TOML file, `RABBITMQ_*`",
        "variables, `HAREBELL_*` variables, options of the command line. `harebell config show --origin`",
        "tells which one set what. A variable that is set but empty counts as not set; a list is written",
        '`a,b` or `["a", "b"]`.',
    ]
    defaults = flatten(Settings())
    for section, model in sections():
        lines += ["", f"## `[{section}]`", "", model.__doc__ or "", ""]
        lines += ["| key | default | environment | meaning |", "|---|---|---|---|"]
        for name, field in model.model_fields.items():
            key = f"{section}.{name}"
            value = _toml(_plain(defaults[key], reveal=True)) or " "
            meaning = (field.description or "").replace("|", "\\|")
            lines.append(f"| `{name}` | `{value}` | `{variable_of(key)}` | {meaning} |")
    return "\n".join(lines) + "\n"


def schema() -> str:
    """Return the JSON schema of the TOML file, for editors and for checking generated configuration."""
    document = Settings.model_json_schema()
    document["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    document["title"] = "harebell.toml"
    return json.dumps(document, indent=2) + "\n"


def in_force(loaded: Loaded, *, origins: bool = False) -> str:
    """Return the settings as TOML, secrets hidden.

    Args:
        loaded: what ``load()`` returned.
        origins: say behind each value where it came from.
    """
    lines: list[str] = []
    for key, value in flatten(loaded.settings).items():
        section, _, name = key.partition(".")
        if not lines or f"[{section}]" not in lines:
            lines += [""] * bool(lines) + [f"[{section}]"]
        text = _toml(_plain(value))
        line = f"{name} = {text}" if text else f"# {name} ="
        lines.append(f"{line}  # {loaded.origin(key)}" if origins else line)
    return "\n".join(lines) + "\n"


def _comment(text: str) -> list[str]:
    lines, current = [], "#"
    for word in " ".join(text.split()).split(" "):
        if len(current) + len(word) + 1 > _WIDTH:
            lines.append(current)
            current = "#"
        current += f" {word}"
    return [*lines, current]


def _plain(value: Any, reveal: bool = False) -> Any:
    if isinstance(value, SecretStr):
        return value.get_secret_value() if reveal else _HIDDEN
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


def _toml(value: Any) -> str:
    """Write one value as TOML; None, which TOML lacks, is the empty text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"{value:_}" if value >= 100_000 else str(value)
    if isinstance(value, list):
        return f"[{', '.join(_toml(item) for item in value)}]"
    if isinstance(value, float):
        return repr(value)
    return json.dumps(str(value), ensure_ascii=False)
