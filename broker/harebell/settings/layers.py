"""Layers of settings: dotted keys with their values and where each came from; later ones win."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from harebell.settings.errors import Notice, nearest
from harebell.settings.tree import Section, Settings

DEFAULT_ORIGIN = "default"


@dataclass(slots=True)
class Layer:
    """Values from one source.

    Attributes:
        values: dotted key (``server.port``) to its raw value and the origin to name when it is wrong.
        problems: what makes this source unusable, one line each.
        notices: remarks that stop nothing.
    """

    values: dict[str, tuple[Any, str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)

    def put(self, key: str, value: Any, origin: str) -> None:
        """Set a key, over an earlier value of this layer."""
        self.values[key] = (value, origin)


def known_keys() -> tuple[str, ...]:
    """Return every setting as ``section.key``, in the order of the tree."""
    return tuple(f"{section}.{name}" for section, model in sections() for name in model.model_fields)


def sections() -> Iterator[tuple[str, type[Section]]]:
    """Yield the name and the model of each section of the tree."""
    for name, info in Settings.model_fields.items():
        model = info.annotation
        assert isinstance(model, type) and issubclass(model, Section)
        yield name, model


def unknown_key(key: str, origin: str) -> str:
    """Say that a key does not exist, where it stands and which existing one is nearest."""
    return f"{origin}: unknown setting {key!r}{nearest(key, known_keys())}"


def nest(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Turn dotted keys into one table per section."""
    tree: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        section, _, name = key.partition(".")
        tree.setdefault(section, {})[name] = value
    return tree


def flatten(settings: Settings) -> dict[str, Any]:
    """Return every setting under its dotted key, secrets still wrapped."""
    flat = {}
    for section in Settings.model_fields:
        model = getattr(settings, section)
        assert isinstance(model, BaseModel)
        for name in type(model).model_fields:
            flat[f"{section}.{name}"] = getattr(model, name)
    return flat
