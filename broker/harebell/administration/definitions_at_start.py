"""Definitions that are imported whenever the node starts, from a file or a folder of files.

Most nodes have none: what reads and imports them is loaded only where there are some.
"""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Final, Protocol

from harebell.administration.administration import Administration
from harebell.errors import BrokerError
from harebell.settings import Settings

EVERY: Final = 20_000
"""Steps after which the log says how far an import is."""


class Log(Protocol):
    """Where it is said what is imported."""

    def info(self, event: str) -> object:
        """Say something."""

    def warning(self, event: str) -> object:
        """Say that something was passed over."""


class DefinitionsError(Exception):
    """Definitions cannot be imported, so the node does not start, as RabbitMQ would not.

    Attributes:
        exit_code: of the process (``EX_CONFIG``).
    """

    exit_code = 78


def import_at_start(admin: Administration, log: Log) -> None:
    """Import what ``management.load_definitions`` names; to be called before the node listens.

    Args:
        admin: the node.
        log: told what is imported and what is passed over.

    Raises:
        DefinitionsError: a file cannot be read, or something in it cannot be imported.
    """
    place = admin.settings.management.load_definitions
    if place is None:
        return
    from harebell.administration.parameters import DEFINITIONS_HASH, GLOBAL, set_global_parameter

    contents = [(path, _read(path)) for path in _files(place)]
    digest = sha256(b"".join(sha256(content).digest() for _, content in contents)).hexdigest()
    if admin.settings.management.skip_unchanged_definitions:
        known = admin.broker.parameters.get((*GLOBAL, DEFINITIONS_HASH))
        if known == json.dumps(digest):
            log.info(f"definitions in {place} have not changed since they were imported: passed over")
            return
    for path, content in contents:
        _import(admin, path, content, log)
    if admin.settings.management.skip_unchanged_definitions:
        set_global_parameter(admin, DEFINITIONS_HASH, digest)


def brings_users(settings: Settings) -> bool:
    """Tell whether definitions that are imported at start have users: no default user is made then.

    RabbitMQ makes none as soon as there are definitions at all; without users in them nobody could log in.

    Raises:
        DefinitionsError: a file cannot be read.
    """
    place = settings.management.load_definitions
    documents = [] if place is None else [_decoded(path, _read(path)) for path in _files(place)]
    return any(isinstance(document, dict) and bool(document.get("users")) for document in documents)


def _files(place: Path) -> list[Path]:
    if not place.is_dir():
        return [place]
    try:
        return sorted(path for path in place.iterdir() if path.suffix == ".json" and path.is_file())
    except OSError as error:
        raise DefinitionsError(f"definitions in {place} cannot be read: {error.strerror}") from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DefinitionsError(f"definitions in {path} cannot be read: {error.strerror}") from None


def _decoded(path: Path, content: bytes) -> object:
    import orjson

    try:
        document: object = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise DefinitionsError(f"definitions in {path} are no JSON: {error}") from None
    return document


def _import(admin: Administration, path: Path, content: bytes, log: Log) -> None:
    from harebell.administration.definitions import Import, hash_passwords

    document = _decoded(path, content)
    log.info(f"importing definitions from {path}")
    hash_passwords(admin, document)
    work = Import(admin, document, skip_unknown=admin.settings.management.skip_unknown_definitions)
    try:
        for progress in work.steps():
            if progress.done % EVERY == 0:
                log.info(f"importing definitions from {path}: {progress.done * 100 // progress.total} %")
    except BrokerError as error:
        raise DefinitionsError(f"definitions in {path} cannot be imported: {error.text}") from None
    for warning in (*work.skipped, *work.warnings):
        log.warning(f"definitions in {path}: {warning}")
    log.info(f"imported definitions from {path}: {len(work.differences)} differences")
