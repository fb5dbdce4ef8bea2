"""Settings from a TOML file, each with the line it stands on."""

import re
import tomllib
from pathlib import Path
from typing import Any

from harebell.settings.layers import Layer, known_keys, sections, unknown_key

_TABLE = re.compile(r"\s*\[\s*([A-Za-z0-9_.\s\"'-]+?)\s*\]\s*(?:#.*)?$")
_ENTRY = re.compile(r"\s*([A-Za-z0-9_.\s\"'-]+?)\s*=")


def read_toml(path: Path) -> Layer:
    """Read one TOML file.

    Args:
        path: the file; not being able to read or parse it is a problem of the layer, not an exception.
    """
    layer = Layer()
    try:
        text = path.read_text(encoding="utf-8")
        tree = tomllib.loads(text)
    except OSError as error:
        layer.problems.append(f"{path}: cannot be read: {error.strerror or error}")
    except UnicodeDecodeError:
        layer.problems.append(f"{path}: is not text in UTF-8")
    except tomllib.TOMLDecodeError as error:
        layer.problems.append(f"{path}: is not valid TOML: {error}")
    else:
        _collect(layer, path, tree, _lines(text))
    return layer


def _collect(layer: Layer, path: Path, tree: dict[str, Any], lines: dict[str, int]) -> None:
    known = set(known_keys())
    names = {name for name, _ in sections()}
    for section, table in tree.items():
        if section not in names:
            keys = [f"{section}.{name}" for name in table] if isinstance(table, dict) else [section]
            for key in keys or [section]:
                layer.problems.append(unknown_key(key, _origin(path, lines, key)))
        elif not isinstance(table, dict):
            layer.problems.append(
                f"{_origin(path, lines, section)}: {section!r} is a section: write [{section}]"
            )
        else:
            for name, value in table.items():
                key = f"{section}.{name}"
                if key in known:
                    layer.put(key, value, _origin(path, lines, key))
                else:
                    layer.problems.append(unknown_key(key, _origin(path, lines, key)))


def _origin(path: Path, lines: dict[str, int], key: str) -> str:
    line = lines.get(key) or lines.get(key.partition(".")[0])
    return f"{path}:{line}" if line else str(path)


def _lines(text: str) -> dict[str, int]:
    """Find the line of each table and key, which tomllib does not tell; odd spellings are missed."""
    found: dict[str, int] = {}
    table = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _TABLE.match(line):
            table = _plain(header[1])
            found.setdefault(table, number)
        elif entry := _ENTRY.match(line):
            key = _plain(entry[1])
            found.setdefault(f"{table}.{key}" if table else key, number)
    return found


def _plain(key: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in key.split("."))
