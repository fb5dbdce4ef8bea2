"""Where configuration and data are looked for."""

import os
from pathlib import Path

import pytest

from harebell.settings import ConfigFiles, SettingsError, find_config, find_data_dir


class Machine:
    """A machine with its folders below one temporary one."""

    def __init__(self, root: Path) -> None:
        self.work, self.home = root / "work", root / "home"
        self.system, self.rabbitmq = root / "etc/harebell", root / "etc/rabbitmq"
        for folder in (self.work, self.home, self.system / "conf.d", self.rabbitmq / "conf.d"):
            folder.mkdir(parents=True)
        self.environ = {"HOME": str(self.home)}

    def find(self, explicit: Path | None = None) -> ConfigFiles:
        return find_config(explicit, self.environ, cwd=self.work, system=self.system, rabbitmq=self.rabbitmq)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_no_file_is_fine(machine: Machine) -> None:
    assert list(machine.find()) == []


def test_the_first_place_that_has_a_file_is_used(machine: Machine) -> None:
    conf = touch(machine.rabbitmq / "rabbitmq.conf")
    assert machine.find() == ConfigFiles(rabbitmq=(conf,))
    system = touch(machine.system / "harebell.toml")
    assert machine.find() == ConfigFiles(toml=(system,))
    user = touch(machine.home / ".config/harebell/harebell.toml")
    assert machine.find() == ConfigFiles(toml=(user,))
    local = touch(machine.work / "harebell.toml")
    assert machine.find() == ConfigFiles(toml=(local,))
    named_conf = touch(machine.home / "r.conf")
    machine.environ["RABBITMQ_CONFIG_FILE"] = str(named_conf)
    assert machine.find() == ConfigFiles(rabbitmq=(named_conf,))
    named = touch(machine.home / "h.toml")
    machine.environ["HAREBELL_CONFIG"] = str(named)
    assert machine.find() == ConfigFiles(rabbitmq=(named_conf,), toml=(named,))
    explicit = touch(machine.home / "e.toml")
    assert machine.find(explicit).toml == (explicit,)


def test_a_named_rabbitmq_conf_is_read_as_one(machine: Machine) -> None:
    conf = touch(machine.home / "own.conf")
    assert machine.find(conf) == ConfigFiles(rabbitmq=(conf,))


def test_parts_are_read_after_the_main_file_in_the_order_of_their_names(machine: Machine) -> None:
    second, first = touch(machine.system / "conf.d/20.toml"), touch(machine.system / "conf.d/10.toml")
    main = touch(machine.system / "harebell.toml")
    assert machine.find().toml == (main, first, second)


def test_rabbitmq_parts_alone_are_enough(machine: Machine) -> None:
    part = touch(machine.rabbitmq / "conf.d/10-defaults.conf")
    assert machine.find() == ConfigFiles(rabbitmq=(part,))


def test_the_rabbitmq_variable_may_leave_out_the_suffix_or_name_a_folder(machine: Machine) -> None:
    conf = touch(machine.home / "r.conf")
    machine.environ["RABBITMQ_CONFIG_FILE"] = str(machine.home / "r")
    machine.environ["RABBITMQ_CONFIG_FILES"] = str(machine.rabbitmq / "conf.d")
    part = touch(machine.rabbitmq / "conf.d/1.conf")
    assert machine.find().rabbitmq == (conf, part)


def test_a_named_file_that_is_missing_is_an_error_that_says_who_named_it(machine: Machine) -> None:
    with pytest.raises(SettingsError, match="^--config: no such file: /absent.toml$"):
        machine.find(Path("/absent.toml"))
    machine.environ["HAREBELL_CONFIG"] = "/gone.toml"
    with pytest.raises(SettingsError, match="^HAREBELL_CONFIG: no such file: /gone.toml$"):
        machine.find()


def test_an_account_without_a_home_is_fine(machine: Machine) -> None:
    machine.environ.clear()
    assert list(machine.find()) == []


def test_the_data_folder_is_the_first_that_applies(tmp_path: Path) -> None:
    system = tmp_path / "var"
    environ = {"HOME": "/home/me"}
    assert find_data_dir(None, environ, system=system) == Path("/home/me/.local/share/harebell")
    environ["XDG_DATA_HOME"] = "/xdg"
    assert find_data_dir(None, environ, system=system) == Path("/xdg/harebell")
    system.mkdir()
    assert find_data_dir(None, environ, system=system) == system
    environ["STATE_DIRECTORY"] = "/state:/other"
    assert find_data_dir(None, environ, system=system) == Path("/state")
    assert find_data_dir(Path("/set"), environ, system=system) == Path("/set")


def test_choosing_a_data_folder_creates_nothing(tmp_path: Path) -> None:
    chosen = find_data_dir(None, {"HOME": str(tmp_path)}, system=tmp_path / "absent")
    assert not chosen.exists()
    assert os.listdir(tmp_path) == []
