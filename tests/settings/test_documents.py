"""The documents made from the tree: complete, committed as they are generated, usable as input."""

import json
import tomllib
from pathlib import Path

import pytest

from harebell.settings import ConfigFiles, Settings, documents, load
from harebell.settings.layers import known_keys

PROJECT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("file", "generated"),
    [("config/harebell.toml", documents.default_file()), ("docs/settings.md", documents.reference())],
)
def test_the_committed_file_is_the_generated_one(file: str, generated: str) -> None:
    assert (PROJECT / file).read_text(encoding="utf-8") == generated, "run `make generate`"


def test_the_default_file_changes_nothing() -> None:
    files = ConfigFiles(toml=(PROJECT / "config/harebell.toml",))
    loaded = load(environ={}, files=files)
    assert loaded.settings == Settings()
    assert loaded.origins == {}


def test_every_line_of_the_default_file_can_be_uncommented(tmp_path: Path) -> None:
    lines = []
    for line in documents.default_file().splitlines():
        key, equals, value = line.removeprefix("# ").partition(" =")
        is_setting = line.startswith("# ") and equals and key.isidentifier() and value.strip()
        lines.append(line.removeprefix("# ") if is_setting else line)
    path = tmp_path / "all.toml"
    path.write_text("\n".join(lines))
    loaded = load(environ={}, files=ConfigFiles(toml=(path,)))
    assert loaded.settings == Settings()
    # These have no default that could be written down.
    assert set(known_keys()) - set(loaded.origins) == {
        "storage.data_dir",
        "tls.certificate",
        "tls.key",
        "tls.ca",
        "tls.crl",
        "tls.sni",
        "log.file",
        "management.load_definitions",
    }


def test_every_setting_has_one_sentence_of_help() -> None:
    for section in Settings.model_fields:
        for name, field in type(getattr(Settings(), section)).model_fields.items():
            assert field.description and field.description.endswith("."), (
                f"describe {section}.{name} in tree.py"
            )


def test_what_is_in_force_is_toml_with_secrets_hidden_and_origins_told() -> None:
    loaded = load(
        environ={"HAREBELL_SERVER__PORT": "5673", "RABBITMQ_DEFAULT_PASS": "s3cret"}, files=ConfigFiles()
    )
    text = documents.in_force(loaded, origins=True)
    assert "s3cret" not in text
    assert "port = 5673  # HAREBELL_SERVER__PORT" in text
    assert "heartbeat = 60  # default" in text
    assert tomllib.loads(text)["server"]["port"] == 5673


def test_the_schema_names_every_section() -> None:
    schema = json.loads(documents.schema())
    assert set(schema["properties"]) == set(Settings.model_fields)
    assert "guest" not in json.dumps(schema["$defs"]["Auth"]["properties"]["default_pass"])
