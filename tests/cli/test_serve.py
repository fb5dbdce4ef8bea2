"""``harebell serve`` as a process: start, the lines people grep for, signals, one line when it cannot."""

import json
import re
import signal
import socket
from pathlib import Path

import pytest

from tests.cli.running import harebell, serving

ERROR_LINE = r"harebell: error: [^\n]+\n"


def test_it_serves_until_sigterm_and_exits_with_0(tmp_path: Path) -> None:
    with serving(tmp_path, "--log-format", "text", "--bind", "127.0.0.1") as broker:
        check = harebell("healthcheck", "--port", str(broker.port), folder=tmp_path)
        assert check.returncode == 0, check.stderr
        assert broker.stop() == 0, broker.errors.read_text()
        text = "\n".join(broker.lines())
    assert re.search(
        rf"\[info\] <node> started TCP listener on 127\.0\.0\.1:{broker.port}$", text, re.MULTILINE
    )
    assert re.search(r"Server startup complete; 0 plugins started\.$", text, re.MULTILINE)
    assert "Traceback" not in text + broker.errors.read_text()


def test_ctrl_c_stops_it_too(tmp_path: Path) -> None:
    with serving(tmp_path) as broker:
        assert broker.stop(signal.SIGINT) == 0


def test_the_same_wish_to_stop_delivered_twice_is_one(tmp_path: Path) -> None:
    with serving(tmp_path) as broker:
        broker.process.send_signal(signal.SIGTERM)
        assert broker.stop(signal.SIGTERM) == 0


def test_logs_are_json_lines_where_no_terminal_is(tmp_path: Path) -> None:
    with serving(tmp_path) as broker:
        broker.stop()
        messages = [json.loads(line)["msg"] for line in broker.lines()]
    assert "Server startup complete; 0 plugins started." in messages


def test_the_banner_goes_beside_the_logs(tmp_path: Path) -> None:
    with serving(tmp_path, "--bind", "127.0.0.1", "--in-memory") as broker:
        broker.stop()
        banner = broker.errors.read_text()
    assert f"amqp://guest:guest@127.0.0.1:{broker.port}/" in banner
    assert "in memory" in banner
    assert "\x1b" not in banner, "no colours where no terminal is"
    assert len(banner.splitlines()) == 8


def test_a_port_in_use_is_one_line_and_exit_code_69(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = harebell("serve", "--bind", "127.0.0.1", "--port", str(port), folder=tmp_path)
    assert ended.returncode == 69
    assert re.fullmatch(ERROR_LINE, ended.stderr)
    assert f"cannot listen on 127.0.0.1:{port}: the port is in use" in ended.stderr


def test_an_address_of_another_machine_is_one_line(tmp_path: Path) -> None:
    ended = harebell("serve", "--bind", "192.0.2.1", "--port", "0", folder=tmp_path)
    assert ended.returncode == 69
    assert re.fullmatch(ERROR_LINE, ended.stderr)


@pytest.mark.parametrize(
    ("arguments", "environ", "code", "says"),
    [
        (["--prot", "1"], {}, 64, "--port"),
        (["--port", "70000"], {}, 64, "70000"),
        (["extra"], {}, 64, "extra"),
        (["--bind", "1:2:3"], {}, 78, "--bind: server.bind"),
        (["--config", "absent.toml"], {}, 78, "no such file: absent.toml"),
        ([], {"HAREBELL_SERVER__PROT": "1"}, 78, "did you mean 'HAREBELL_SERVER__PORT'?"),
        ([], {"HAREBELL_AMQP__FRAME_MAX": "100"}, 78, "HAREBELL_AMQP__FRAME_MAX: amqp.frame_max"),
    ],
)
def test_a_mistake_is_one_line_and_the_exit_code_of_its_kind(
    tmp_path: Path, arguments: list[str], environ: dict[str, str], code: int, says: str
) -> None:
    ended = harebell("serve", *arguments, folder=tmp_path, environ=environ)
    assert re.fullmatch(ERROR_LINE, ended.stderr), ended.stderr
    assert says in ended.stderr
    assert ended.returncode == code
    assert ended.stdout == ""


def test_a_mistake_in_the_file_names_the_line(tmp_path: Path) -> None:
    (tmp_path / "harebell.toml").write_text("[server]\nprot = 1\n")
    ended = harebell("serve", folder=tmp_path)
    assert ended.returncode == 78
    assert "harebell.toml:2: unknown setting 'server.prot' (did you mean 'server.port'?)" in ended.stderr


def test_the_asyncio_loop_serves_as_well(tmp_path: Path) -> None:
    with serving(tmp_path, environ={"HAREBELL_SERVER__LOOP": "asyncio"}) as broker:
        assert harebell("healthcheck", "-p", str(broker.port), folder=tmp_path).returncode == 0
        assert broker.stop() == 0
        assert "on asyncio" in broker.errors.read_text()


def test_variables_without_effect_are_told_once_in_the_log(tmp_path: Path) -> None:
    with serving(tmp_path, environ={"RABBITMQ_ERLANG_COOKIE": "x"}) as broker:
        broker.stop()
        assert sum("RABBITMQ_ERLANG_COOKIE" in line for line in broker.lines()) == 1
