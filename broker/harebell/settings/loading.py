"""Put the layers together: one Settings, and for each key where its value came from."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from harebell.settings.environment import read_harebell_variables, read_rabbitmq_variables
from harebell.settings.errors import Notice, SettingsError
from harebell.settings.layers import DEFAULT_ORIGIN, Layer, known_keys, nest, unknown_key
from harebell.settings.places import ConfigFiles, find_config
from harebell.settings.rabbitmq_conf import read_rabbitmq_conf
from harebell.settings.toml_file import read_toml
from harebell.settings.tree import Settings


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings and how they came about.

    Attributes:
        settings: the result.
        origins: for each key that is not a default: a file and line, a variable, or an option of the
            command line.
        notices: remarks for the log: keys and variables that have no effect here.
        files: the files that were read, weakest first.
    """

    settings: Settings
    origins: dict[str, str]
    notices: tuple[Notice, ...]
    files: tuple[Path, ...]

    def origin(self, key: str) -> str:
        """Say where the value of a dotted key came from; ``default`` when nothing set it."""
        return self.origins.get(key, DEFAULT_ORIGIN)


def load(
    *,
    config: Path | None = None,
    options: Mapping[str, tuple[Any, str]] | None = None,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    files: ConfigFiles | None = None,
) -> Loaded:
    """Load the settings: defaults, then rabbitmq.conf, TOML, RABBITMQ_*, HAREBELL_*, then the command line.

    Args:
        config: the file named with ``--config``.
        options: dotted key to value and the option's name, from the command line.
        environ: the environment variables; those of the process when absent.
        cwd: the folder where ``harebell.toml`` is looked for; the current one when absent.
        files: the files to read, instead of looking for them.

    Raises:
        SettingsError: a key does not exist, a value is out of range, a file is missing or malformed.
    """
    if environ is None:
        environ = os.environ
    if files is None:
        files = find_config(config, environ, cwd=cwd or Path.cwd())
    layers = [read_toml(Path(environ["HAREBELL_DEFAULTS"]))] if environ.get("HAREBELL_DEFAULTS") else []
    layers += [read_rabbitmq_conf(path) for path in files.rabbitmq]
    layers += [read_toml(path) for path in files.toml]
    layers += [
        read_rabbitmq_variables(environ),
        read_harebell_variables(environ),
        _from_options(options or {}),
    ]
    return _merge(layers, tuple(files))


def _from_options(options: Mapping[str, tuple[Any, str]]) -> Layer:
    layer = Layer()
    for key, (value, option) in options.items():
        if key in known_keys():
            layer.put(key, value, option)
        else:
            layer.problems.append(unknown_key(key, option))
    return layer


def _merge(layers: Iterable[Layer], files: tuple[Path, ...]) -> Loaded:
    values: dict[str, tuple[Any, str]] = {}
    problems: list[str] = []
    notices: list[Notice] = []
    for layer in layers:
        values |= layer.values
        problems += layer.problems
        notices += layer.notices
    origins = {key: origin for key, (_, origin) in values.items()}
    try:
        settings = Settings.model_validate(nest({key: value for key, (value, _) in values.items()}))
    except ValidationError as error:
        problems += _explain(error, values)
    if problems:
        raise SettingsError(problems)
    return Loaded(settings, origins, tuple(notices), files)


def _explain(error: ValidationError, values: Mapping[str, tuple[Any, str]]) -> list[str]:
    """Turn what pydantic found into one line per setting, without repeating a secret."""
    lines: dict[str, str] = {}
    for detail in error.errors(include_url=False, include_context=False):
        key = ".".join(str(part) for part in detail["loc"][:2])
        value, origin = values.get(key, (None, DEFAULT_ORIGIN))
        reason = detail["msg"].removeprefix("Value error, ")
        reason = reason[:1].lower() + reason[1:] if not reason.startswith("Input") else reason[6:]
        shown = "" if key == "auth.default_pass" else f" = {value!r}"
        lines.setdefault(key, f"{origin}: {key}{shown}: {reason.strip()}")
    return list(lines.values())
