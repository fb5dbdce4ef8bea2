"""Environment variables: the RabbitMQ image's names, ours, and those that only look like ours."""

from pathlib import Path

import pytest

from harebell.settings import load
from harebell.settings.environment import read_harebell_variables, read_rabbitmq_variables


def test_the_variables_of_the_rabbitmq_image_are_honoured(tmp_path: Path) -> None:
    environ = {
        "RABBITMQ_DEFAULT_USER": "admin",
        "RABBITMQ_DEFAULT_PASS": "secret",
        "RABBITMQ_DEFAULT_VHOST": "orders",
        "RABBITMQ_NODE_PORT": "5673",
        "RABBITMQ_NODE_IP_ADDRESS": "0.0.0.0",
        "RABBITMQ_NODENAME": "rabbit@here",
        "RABBITMQ_MNESIA_BASE": "/data",
        "RABBITMQ_LOG": "debug,+color",
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_PRODUCT_NAME": "Mine",
        "RABBITMQ_PRODUCT_VERSION": "4.1.0",
    }
    loaded = load(environ=environ, cwd=tmp_path)
    settings = loaded.settings
    assert (settings.auth.default_user, settings.auth.default_vhost) == ("admin", "orders")
    assert settings.auth.default_pass.get_secret_value() == "secret"
    assert settings.server.listeners() == (("0.0.0.0", 5673),)
    assert settings.compat.node_name == "rabbit@here"
    assert settings.storage.data_dir == Path("/data")
    assert settings.log.level == "debug"
    assert (settings.compat.product, settings.compat.version) == ("Mine", "4.1.0")
    assert loaded.notices == ()


def test_the_others_of_rabbitmq_are_ignored_with_one_remark() -> None:
    environ = {"RABBITMQ_ERLANG_COOKIE": "x", "RABBITMQ_USE_LONGNAME": "true", "RABBITMQ_CONFIG_FILE": "/x"}
    layer = read_rabbitmq_variables(environ)
    assert layer.values == {}
    assert [notice.text for notice in layer.notices] == [
        "without effect here: RABBITMQ_ERLANG_COOKIE, RABBITMQ_USE_LONGNAME"
    ]


def test_secrets_are_read_from_files_without_the_final_newline(tmp_path: Path) -> None:
    (tmp_path / "user").write_text("admin\n")
    (tmp_path / "pass").write_text(" s p \r\n")
    environ = {
        "RABBITMQ_DEFAULT_USER_FILE": str(tmp_path / "user"),
        "RABBITMQ_DEFAULT_PASS_FILE": str(tmp_path / "pass"),
    }
    auth = load(environ=environ, cwd=tmp_path).settings.auth
    assert (auth.default_user, auth.default_pass.get_secret_value()) == ("admin", " s p ")


def test_a_secret_file_that_is_missing_is_a_problem(tmp_path: Path) -> None:
    layer = read_rabbitmq_variables({"RABBITMQ_DEFAULT_PASS_FILE": str(tmp_path / "absent")})
    assert "RABBITMQ_DEFAULT_PASS_FILE: cannot read" in layer.problems[0]


def test_logs_go_to_the_file_named() -> None:
    assert (
        read_rabbitmq_variables({"RABBITMQ_LOGS": "/var/log/x.log"}).values["log.file"][0] == "/var/log/x.log"
    )
    assert read_rabbitmq_variables({"RABBITMQ_LOGS": "-"}).values == {}
    assert read_rabbitmq_variables({"RABBITMQ_LOGS": "x.log"}).notices[0].level == "warning"


def test_a_service_link_that_looks_like_a_port_is_not_one() -> None:
    # Kubernetes sets this for a service named rabbitmq-node.
    layer = read_rabbitmq_variables({"RABBITMQ_NODE_PORT": "tcp://10.0.0.1:5672"})
    assert layer.values == {}


@pytest.mark.parametrize(
    "variable",
    [
        "HAREBELL_SERVICE_HOST",
        "HAREBELL_SERVICE_PORT",
        "HAREBELL_SERVICE_PORT_AMQP",
        "HAREBELL_PORT_5672_TCP",
        "HAREBELL_PORT_5672_TCP_ADDR",
        "HAREBELL_MANAGEMENT_SERVICE_HOST",
    ],
)
def test_service_links_of_a_service_named_harebell_are_no_settings(variable: str) -> None:
    layer = read_harebell_variables({variable: "10.0.0.1", "HAREBELL_PORT": "tcp://10.0.0.1:5672"})
    assert (layer.values, layer.problems) == ({}, [])


@pytest.mark.parametrize(
    ("variable", "nearest"),
    [
        ("HAREBELL_SERVER__PROT", "HAREBELL_SERVER__PORT"),
        ("HAREBELL_SERVER_PORT", "HAREBELL_SERVER__PORT"),
        ("HAREBELL_DEFAULT_USER", "HAREBELL_AUTH__DEFAULT_USER"),
    ],
)
def test_a_variable_that_is_no_setting_is_a_problem_that_names_the_nearest(
    variable: str, nearest: str
) -> None:
    layer = read_harebell_variables({variable: "1"})
    assert layer.problems == [f"unknown environment variable {variable!r} (did you mean {nearest!r}?)"]


def test_an_empty_variable_counts_as_not_set() -> None:
    layer = read_harebell_variables({"HAREBELL_AUTH__DEFAULT_USER": "", "HAREBELL_SERVER__PORT": "1"})
    assert list(layer.values) == ["server.port"]


def test_lists_fit_in_a_variable(tmp_path: Path) -> None:
    environ = {"HAREBELL_SERVER__BIND": "0.0.0.0, ::", "HAREBELL_AUTH__LOOPBACK_USERS": "[]"}
    settings = load(environ=environ, cwd=tmp_path).settings
    assert settings.server.bind == ("0.0.0.0", "::")
    assert settings.auth.loopback_users == ()


def test_the_short_name_for_the_log_format_works(tmp_path: Path) -> None:
    assert load(environ={"HAREBELL_LOG_FORMAT": "json"}, cwd=tmp_path).settings.log.format == "json"
