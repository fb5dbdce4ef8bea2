"""Which source wins, where a value came from, and what is said when one cannot be used."""

from pathlib import Path

import pytest

from harebell.settings import SettingsError, load


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_nothing_set_gives_the_defaults(tmp_path: Path) -> None:
    loaded = load(environ={"RABBITMQ_CONFIG_FILES": "/nowhere"}, cwd=tmp_path)
    assert loaded.settings.server.port == 5672
    assert loaded.origin("server.port") == "default"


def test_each_source_wins_over_the_one_before(tmp_path: Path) -> None:
    defaults = write(tmp_path / "image.toml", "[server]\nport = 1\n")
    conf = write(tmp_path / "rabbitmq.conf", "listeners.tcp.default = 2\n")
    toml = write(tmp_path / "own.toml", "[server]\nport = 3\n")
    environ: dict[str, str] = {}
    origins = []

    def port() -> int:
        loaded = load(environ=environ, cwd=tmp_path, options=options)
        origins.append(loaded.origin("server.port"))
        return loaded.settings.server.port

    options: dict[str, tuple[object, str]] = {}
    environ["HAREBELL_DEFAULTS"] = str(defaults)
    assert port() == 1
    environ["RABBITMQ_CONFIG_FILE"] = str(conf)
    assert port() == 2
    environ["HAREBELL_CONFIG"] = str(toml)
    assert port() == 3
    environ["RABBITMQ_NODE_PORT"] = "4"
    assert port() == 4
    environ["HAREBELL_SERVER__PORT"] = "5"
    assert port() == 5
    options["server.port"] = (6, "--port")
    assert port() == 6
    assert origins == [
        f"{defaults}:2",
        f"{conf}:1",
        f"{toml}:2",
        "RABBITMQ_NODE_PORT",
        "HAREBELL_SERVER__PORT",
        "--port",
    ]


def test_a_value_out_of_range_is_one_line_that_names_its_origin(tmp_path: Path) -> None:
    toml = write(tmp_path / "harebell.toml", "[server]\n\nport = 70000\n")
    with pytest.raises(SettingsError) as caught:
        load(environ={}, cwd=tmp_path)
    assert str(caught.value) == f"{toml}:3: server.port = 70000: should be less than or equal to 65535"


def test_every_problem_is_listed_and_the_first_one_shown(tmp_path: Path) -> None:
    environ = {"HAREBELL_SERVER__PORT": "none", "HAREBELL_LOG__LEVEL": "loud", "HAREBELL_SERVER__POTR": "1"}
    with pytest.raises(SettingsError) as caught:
        load(environ=environ, cwd=tmp_path)
    assert len(caught.value.problems) == 3
    assert "(and 2 more: see harebell config check)" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_bad_password_is_not_repeated_in_the_error(tmp_path: Path) -> None:
    write(tmp_path / "harebell.toml", "[auth]\ndefault_pass = 123456\n")
    with pytest.raises(SettingsError) as caught:
        load(environ={}, cwd=tmp_path)
    assert "auth.default_pass" in str(caught.value)
    assert "123456" not in str(caught.value)


def test_an_unknown_option_of_the_command_line_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(
        SettingsError, match=r"--prot: unknown setting 'server.prot' \(did you mean 'server.port'\?\)"
    ):
        load(environ={}, cwd=tmp_path, options={"server.prot": (1, "--prot")})


def test_a_choice_may_be_written_in_any_case(tmp_path: Path) -> None:
    environ = {"HAREBELL_LOG__LEVEL": "DEBUG", "HAREBELL_COMPAT__DYNAMIC_QOS": "true"}
    settings = load(environ=environ, cwd=tmp_path).settings
    assert (settings.log.level, settings.compat.dynamic_qos) == ("debug", "on")
