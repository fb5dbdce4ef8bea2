"""Where the configuration and the data are looked for, in which order."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from harebell.settings.errors import SettingsError

FILE_NAME = "harebell.toml"
SYSTEM_CONFIG = Path("/etc/harebell")
RABBITMQ_CONFIG = Path("/etc/rabbitmq")
SYSTEM_DATA = Path("/var/lib/harebell")


@dataclass(frozen=True, slots=True)
class ConfigFiles:
    """The files to read, weakest first: rabbitmq.conf files, then TOML files."""

    rabbitmq: tuple[Path, ...] = ()
    toml: tuple[Path, ...] = ()

    def __iter__(self) -> Iterator[Path]:
        yield from self.rabbitmq
        yield from self.toml


def find_config(
    explicit: Path | None,
    environ: Mapping[str, str],
    *,
    cwd: Path,
    system: Path = SYSTEM_CONFIG,
    rabbitmq: Path = RABBITMQ_CONFIG,
) -> ConfigFiles:
    """Choose the configuration files.

    The first of these that exists is used: ``--config``, ``$HAREBELL_CONFIG``, ``$RABBITMQ_CONFIG_FILE`` (or
    ``_FILES``), ``./harebell.toml``, the user's and the system's ``harebell.toml``, ``/etc/rabbitmq``. When
    a TOML file is named and ``$RABBITMQ_CONFIG_FILE`` is set too, both are read and the TOML file wins.

    Args:
        explicit: the file named on the command line. A file that ends in ``.conf`` is read as rabbitmq.conf.
        environ: the environment variables.
        cwd: where ``./harebell.toml`` is looked for.
        system: stands for /etc/harebell.
        rabbitmq: stands for /etc/rabbitmq.

    Raises:
        SettingsError: a file that was named does not exist.
    """
    named = explicit or (Path(environ["HAREBELL_CONFIG"]) if environ.get("HAREBELL_CONFIG") else None)
    if named is not None and not named.is_file():
        source = "--config" if explicit else "HAREBELL_CONFIG"
        raise SettingsError([f"{source}: no such file: {named}"])
    from_environment = _rabbitmq_from(environ)
    if named is not None:
        if named.suffix == ".conf":
            return ConfigFiles(rabbitmq=(named,))
        return ConfigFiles(rabbitmq=from_environment, toml=(named,))
    if from_environment:
        return ConfigFiles(rabbitmq=from_environment)
    user = _home_folder(environ, "XDG_CONFIG_HOME", ".config")
    for folder in (cwd, user / "harebell") if user else (cwd,):
        if (folder / FILE_NAME).is_file():
            return ConfigFiles(toml=(folder / FILE_NAME,))
    if found := _with_parts(system / FILE_NAME, system / "conf.d", "*.toml"):
        return ConfigFiles(toml=found)
    return ConfigFiles(rabbitmq=_with_parts(rabbitmq / "rabbitmq.conf", rabbitmq / "conf.d", "*.conf"))


def _rabbitmq_from(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Find $RABBITMQ_CONFIG_FILE (its suffix may be left out) and $RABBITMQ_CONFIG_FILES (a folder)."""
    found = []
    if file := environ.get("RABBITMQ_CONFIG_FILE"):
        found += [path for path in (Path(file), Path(file + ".conf")) if path.is_file()][:1]
    if several := environ.get("RABBITMQ_CONFIG_FILES"):
        folder = Path(several)
        found += _sorted(folder, "*.conf") if folder.is_dir() else _sorted(folder.parent, folder.name)
    return tuple(found)


def _with_parts(main: Path, folder: Path, pattern: str) -> tuple[Path, ...]:
    return tuple([main] * main.is_file() + _sorted(folder, pattern))


def _sorted(folder: Path, pattern: str) -> list[Path]:
    return sorted(path for path in folder.glob(pattern) if path.is_file()) if folder.is_dir() else []


def find_data_dir(configured: Path | None, environ: Mapping[str, str], *, system: Path = SYSTEM_DATA) -> Path:
    """Choose the data folder; nothing is created.

    Args:
        configured: the setting ``storage.data_dir``, which wins.
        environ: the environment variables: ``$STATE_DIRECTORY`` of systemd, ``$XDG_DATA_HOME``.
        system: stands for /var/lib/harebell, used where this process can write it.
    """
    if configured is not None:
        return configured.expanduser()
    if state := environ.get("STATE_DIRECTORY"):
        return Path(state.partition(":")[0])
    if os.access(system, os.W_OK | os.X_OK):
        return system
    home = _home_folder(environ, "XDG_DATA_HOME", ".local/share")
    return home / "harebell" if home else system


def _home_folder(environ: Mapping[str, str], variable: str, below_home: str) -> Path | None:
    """Return a folder of the XDG convention, or None for an account without a home, such as a container's."""
    if folder := environ.get(variable):
        return Path(folder)
    home = environ.get("HOME")
    return Path(home) / below_home if home else None
