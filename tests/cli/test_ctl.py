"""``harebell ctl``: scripts and probes written for rabbitmqctl and its companions get what they expect.

The expected lines and exit codes are those of RabbitMQ 3.10.8's own tools.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from harebell.cli.api import Api
from harebell.cli.ctl.main import find, names
from harebell.cli.ctl.terms import csv_text, json_value, table_text
from harebell.cli.exits import Failure
from harebell.cli.wire_client import Address, WireClient
from tests.cli.conftest import Cli, Ended
from tests.server.process import BrokerProcess, environment, eventually


@pytest.fixture
def shop(cli: Cli, vhost: str) -> str:
    """A virtual host with two queues, an exchange and a binding."""
    cli.ok("queues", "declare", "q1", "-p", vhost, "-a", "x-max-length=10", "--type", "classic")
    cli.ok("queues", "declare", "q2", "-p", vhost)
    cli.ok("exchanges", "declare", "x1", "-p", vhost, "--type", "topic")
    cli.ok("bindings", "declare", "x1", "q1", "a.#", "-p", vhost)
    return vhost


def ctl(cli: Cli, *arguments: str, stdin: str = "") -> Ended:
    return cli("ctl", "--script-name", "rabbitmqctl", *arguments, stdin=stdin)


def test_lists_are_tables_with_tabs_below_a_sentence(cli: Cli, shop: str) -> None:
    assert ctl(cli, "list_queues", "-p", shop).lines == [
        "Timeout: 60.0 seconds ...",
        f"Listing queues for vhost {shop} ...",
        "name\tmessages",
        "q1\t0",
        "q2\t0",
    ]


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        (("-q",), ["name\tmessages", "q1\t0", "q2\t0"]),
        (("-s",), ["q1\t0", "q2\t0"]),
        (("-q", "--no-table-headers"), ["q1\t0", "q2\t0"]),
        (
            ("--quiet", "name", "arguments"),
            ["name\targuments", 'q1\t[{"x-max-length",10},{"x-queue-type","classic"}]', "q2\t[]"],
        ),
        (("--formatter", "json"), ["[", '{"name":"q1","messages":0}', ',{"name":"q2","messages":0}', "]"]),
        (("--formatter=csv", "name", "durable"), ['"name","durable"', '"q1",true', '"q2",true']),
    ],
)
def test_a_list_comes_in_the_form_that_is_asked_for(
    cli: Cli, shop: str, options: tuple[str, ...], lines: list[str]
) -> None:
    assert ctl(cli, "list_queues", *options, "-p", shop).lines == lines


def test_options_may_stand_anywhere(cli: Cli, shop: str) -> None:
    ended = ctl(cli, "-n", "rabbit@x", "-q", "--vhost", shop, "list_queues", "name", "-t", "5", "--longnames")
    assert ended.lines == ["name", "q1", "q2"]


def test_arguments_in_json_are_triples(cli: Cli, shop: str) -> None:
    found = json.loads(ctl(cli, "list_queues", "-p", shop, "--formatter", "json", "arguments").out)
    assert found[0] == {"arguments": [["x-max-length", "long", 10], ["x-queue-type", "longstr", "classic"]]}


def test_values_are_written_as_erlang_terms() -> None:
    assert (
        table_text({"a": True, "b": [1, "x"], "c": 'say "hi"'})
        == '[{"a",true},{"b",[1,"x"]},{"c","say \\"hi\\""}]'
    )
    assert table_text(["administrator", "x"]) == "[administrator, x]"
    assert table_text("a\tb\x1b") == "a\\011b\\033"
    assert csv_text(["a"]) == '"[a]"'
    assert json_value({"t": {"k": [1.5]}}) == [["t", "table", [["k", "array", [["double", 1.5]]]]]]


def test_exchanges_bindings_and_virtual_hosts(cli: Cli, shop: str) -> None:
    assert "x1\ttopic" in ctl(cli, "list_exchanges", "-p", shop).lines
    assert ctl(cli, "list_bindings", "-q", "-p", shop).lines[-1] == "x1\texchange\tq1\tqueue\ta.#\t[]"
    assert f"{shop}\tfalse" in ctl(cli, "list_vhosts", "name", "tracing").lines


def test_a_virtual_host_that_is_not_there_lists_nothing(cli: Cli) -> None:
    ended = ctl(cli, "-q", "list_queues", "-p", "absent")
    assert (ended.code, ended.out) == (0, "")


def test_a_user_from_the_first_day_to_the_last(cli: Cli, vhost: str) -> None:
    assert ctl(cli, "add_user", "bob", "pw").lines[0] == 'Adding user "bob" ...'
    again = ctl(cli, "add_user", "bob", "pw")
    assert (again.code, again.err) == (70, 'Error:\nUser "bob" already exists\n')
    tagged = ctl(cli, "set_user_tags", "bob", "monitoring", "management")
    assert tagged.out == 'Setting tags for user "bob" to [monitoring, management] ...\n'
    assert ctl(cli, "authenticate_user", "bob", "pw").lines == ['Authenticating user "bob" ...', "Success"]
    assert ctl(cli, "authenticate_user", "bob", "no").code == 65
    assert ctl(cli, "change_password", "bob", stdin="new\n").code == 0
    assert ctl(cli, "authenticate_user", "bob", stdin="new\n").code == 0
    assert ctl(cli, "set_permissions", "-p", vhost, "bob", ".*", "", "a").code == 0
    assert "bob\t.*\t\ta" in ctl(cli, "list_permissions", "-p", vhost).lines
    assert ctl(cli, "-q", "list_user_permissions", "bob").lines == [
        "vhost\tconfigure\twrite\tread",
        f"{vhost}\t.*\t\ta",
    ]
    assert ctl(cli, "set_topic_permissions", "-p", vhost, "bob", "amq.topic", "w", "r").code == 0
    assert "bob\tamq.topic\tw\tr" in ctl(cli, "list_topic_permissions", "-p", vhost).lines
    assert f"{vhost}\tamq.topic\tw\tr" in ctl(cli, "list_user_topic_permissions", "bob").lines
    assert ctl(cli, "clear_topic_permissions", "-p", vhost, "bob").code == 0
    assert ctl(cli, "clear_permissions", "-p", vhost, "bob").code == 0
    assert ctl(cli, "set_user_limits", "bob", '{"max-connections": 5}').code == 0
    assert ctl(cli, "-q", "list_user_limits", "--user", "bob").out == '{"max-connections":5}\n'
    assert ctl(cli, "clear_user_limits", "bob", "all").code == 0
    assert ctl(cli, "-q", "list_user_limits", "--user", "bob").out == "{}\n"
    assert ctl(cli, "clear_password", "bob").code == 0
    assert ctl(cli, "delete_user", "bob").out == 'Deleting user "bob" ...\n'
    gone = ctl(cli, "delete_user", "bob")
    assert (gone.code, gone.err) == (67, 'Error:\nUser "bob" does not exist\n')


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("set_permissions", "nobody", ".*", ".*", ".*"), 67),
        (("set_permissions", "-p", "absent", "guest", ".*", ".*", ".*"), 65),
        (("change_password", "nobody", "x"), 67),
        (("list_user_permissions", "nobody"), 67),
        (("delete_vhost", "absent"), 65),
        (("purge_queue", "absent"), 69),
        (("delete_queue", "absent"), 64),
        (("clear_policy", "absent"), 69),
        (("close_connection", "<0.1.2>", "why"), 69),
        (("set_log_level", "loud"), 69),
        (("set_policy", "p", "^q", "{"), 65),
        (("list_queues", "no_such_column"), 64),
        (("add_user",), 64),
        (("add_user", "a", "b", "c"), 64),
        (("list_queues", "--no-such-option"), 64),
        (("list_queues", "--formatter", "xml"), 64),
        (("no_such_command",), 64),
        (("join_cluster", "rabbit@other"), 69),
        (("rotate_logs",), 0),
        (("await_startup",), 0),
        (("enable_feature_flag", "all"), 0),
        (("help",), 0),
        (("help", "list_queues"), 0),
        (("version",), 0),
    ],
)
def test_exit_codes_are_those_of_rabbitmqctl(cli: Cli, arguments: tuple[str, ...], code: int) -> None:
    ended = ctl(cli, *arguments)
    assert ended.code == code, ended.err or ended.out
    assert "Traceback" not in ended.err


def test_a_misspelt_command_is_answered_with_the_nearest(cli: Cli) -> None:
    assert "Did you mean 'list_queues'?" in ctl(cli, "list_qeues").err


def test_passwords_are_not_repeated_in_errors(cli: Cli) -> None:
    ended = ctl(cli, "add_user", "bob", "hunter2", "superfluous")
    assert ended.code == 64 and "hunter2" not in ended.err + ended.out


def test_virtual_hosts(cli: Cli) -> None:
    assert ctl(cli, "add_vhost", "ctl-v", "--description", "d", "--tags", "a,b").code == 0
    assert ctl(cli, "add_vhost", "ctl-v").code == 0
    assert ctl(cli, "set_vhost_tags", "ctl-v", "c").code == 0
    assert ctl(cli, "-q", "list_vhosts", "name", "description", "tags").lines[-1].endswith("\td\t[c]")
    assert ctl(cli, "trace_on", "-p", "ctl-v").lines[-1] == "Trace enabled for vhost ctl-v"
    assert "ctl-v\ttrue" in ctl(cli, "list_vhosts", "name", "tracing").lines
    assert ctl(cli, "trace_off", "-p", "ctl-v").code == 0
    assert ctl(cli, "set_vhost_limits", "-p", "ctl-v", '{"max-queues": 5}').code == 0
    assert ctl(cli, "-q", "list_vhost_limits", "-p", "ctl-v").out == '{"max-queues":5}\n'
    assert ctl(cli, "clear_vhost_limits", "-p", "ctl-v").code == 0
    assert ctl(cli, "delete_vhost", "ctl-v").out == 'Deleting vhost "ctl-v" ...\n'


def test_policies_and_parameters(cli: Cli, vhost: str) -> None:
    here = ("-p", vhost)
    given = ("p", "^q", '{"max-length":5}')
    options = ("--priority", "2", "--apply-to", "queues")
    assert ctl(cli, "set_policy", *here, *given, *options).code == 0
    assert ctl(cli, "-q", "list_policies", *here).lines == [
        "vhost\tname\tpattern\tapply-to\tdefinition\tpriority",
        f'{vhost}\tp\t^q\tqueues\t{{"max-length":5}}\t2',
    ]
    assert ctl(cli, "clear_policy", *here, "p").code == 0
    assert ctl(cli, "set_operator_policy", *here, *given).code == 0
    assert ctl(cli, "-q", "list_operator_policies", *here).lines[1].endswith('\tall\t{"max-length":5}\t0')
    assert ctl(cli, "clear_operator_policy", *here, "p").code == 0
    assert ctl(cli, "set_global_parameter", "g", '{"a":1}').code == 0
    assert 'g\t{"a":1}' in ctl(cli, "list_global_parameters").lines
    assert ctl(cli, "clear_global_parameter", "g").code == 0
    assert ctl(cli, "list_parameters", *here).code == 0


def test_queues_are_purged_peeked_at_and_deleted(cli: Cli, shop: str) -> None:
    cli.ok("publish", "", "q1", "first", "-p", shop)
    cli.ok("publish", "", "q1", "second", "-p", shop)
    assert "payload\tsecond" in ctl(cli, "peek", "-p", shop, "q1", "2").lines
    assert ctl(cli, "peek", "-p", shop, "q1", "3").code == 69
    assert ctl(cli, "purge_queue", "-p", shop, "q1").out == f"Purging queue 'q1' in vhost '{shop}' ...\n"
    deleted = ctl(cli, "-q", "delete_queue", "-p", shop, "q1", "--if-empty")
    assert deleted.out == "Queue was successfully deleted with 0 ready messages\n"


def test_a_connection_is_closed_by_the_pid_that_is_listed(
    cli: Cli, api: Api, vhost: str, http_broker: BrokerProcess
) -> None:
    client = WireClient(Address("127.0.0.1", http_broker.port, "guest", "guest", vhost))
    client.consume(client.declare_temporary(), no_ack=False)
    eventually(lambda: api.get("vhosts", vhost, "connections"), "the connection is listed")
    rows = json.loads(ctl(cli, "list_connections", "pid", "vhost", "user", "--formatter", "json").out)
    (pid,) = [row["pid"] for row in rows if row["vhost"] == vhost]
    assert " " not in pid and ctl(cli, "list_channels").lines[1].split("\t") == (
        ["pid", "user", "consumer_count", "messages_unacknowledged"]
    )
    assert ctl(cli, "-q", "list_consumers", "-p", vhost).lines[0].startswith("queue_name\tchannel_pid")
    assert ctl(cli, "close_connection", pid, "enough").code == 0
    with pytest.raises(Failure, match="320 CONNECTION_FORCED - enough"):
        client.next_delivery(10)
    client.close()
    assert ctl(cli, "close_all_connections", "-p", vhost, "enough").lines[-1].startswith("Closed ")


def test_definitions_go_out_and_in(cli: Cli, tmp_path: Path) -> None:
    file = str(tmp_path / "d.json")
    assert ctl(cli, "export_definitions", file).code == 0
    assert ctl(cli, "import_definitions", file).code == 0
    assert ctl(cli, "import_definitions", stdin=Path(file).read_text()).code == 0


def test_super_streams(cli: Cli, api: Api, vhost: str) -> None:
    given = ("--partitions", "2", "--max-age", "1D")
    assert (
        ctl(cli, "add_super_stream", "events", *given, "--vhost", vhost).lines[-1]
        == "Super stream has been created"
    )
    assert len(api.get("queues", vhost)) == 2
    assert ctl(cli, "delete_super_stream", "events", "--vhost", vhost).code == 0


@pytest.mark.parametrize("options", [(), ("-q",), ("-s",)])
def test_ping_says_so_however_quiet(cli: Cli, options: tuple[str, ...]) -> None:
    ended = cli("ctl", "--script-name", "rabbitmq-diagnostics", *options, "ping")
    assert (ended.code, ended.lines[-1]) == (0, "Ping succeeded")
    assert len(ended.lines) == (1 if options else 2)


def test_probes_pass_on_a_healthy_broker(cli: Cli, http_broker: BrokerProcess) -> None:
    port = str(http_broker.port)
    for probe in (
        ("check_running",),
        ("check_local_alarms",),
        ("check_alarms",),
        ("check_virtual_hosts",),
        ("check_port_connectivity",),
        ("check_port_listener", port),
        ("check_protocol_listener", "amqp"),
        ("check_certificate_expiration", "--unit", "weeks", "--within", "2"),
        ("is_running",),
        ("is_booting",),
        ("check_if_node_is_quorum_critical",),
        ("check_if_node_is_mirror_sync_critical",),
        ("alarms",),
        ("await_startup",),
        ("listeners",),
        ("server_version",),
        ("memory_breakdown", "--unit", "MB"),
    ):
        ended = cli("ctl", "-q", *probe)
        assert ended.code == 0, (probe, ended.err)
    for failing in (("check_port_listener", "1"), ("check_protocol_listener", "mqtt")):
        ended = cli("ctl", *failing)
        assert ended.code == 69 and "No listener for" in ended.err


def test_ping_and_startup_fail_where_nothing_listens(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setenv("HAREBELL_SERVER__PORT", str(port))
    monkeypatch.setenv("HAREBELL_URL", f"http://127.0.0.1:{port}")
    assert ctl(cli, "ping").code == 69
    assert ctl(cli, "check_running").code == 69
    assert ctl(cli, "await_startup", "-t", "0.2").code == 75
    assert ctl(cli, "list_queues").code == 69


def test_ping_needs_no_login(cli: Cli, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("HAREBELL_URL", url.replace(":guest@", ":changed@"))
    for probe in ("ping", "check_running", "check_port_connectivity", "await_startup"):
        assert ctl(cli, probe).code == 0, probe
    assert ctl(cli, "check_local_alarms").code == 77


def test_status_in_both_forms(cli: Cli) -> None:
    text = ctl(cli, "status").out
    for part in ("Runtime", "Alarms", "(none)", "File Descriptors", "Free Disk Space", "Totals", "Listeners"):
        assert part in text
    document = json.loads(ctl(cli, "status", "--formatter", "json").out)
    assert {"pid", "uptime", "alarms", "totals", "listeners", "data_directory"} <= document.keys()
    assert json.loads(ctl(cli, "cluster_status", "--formatter", "json").out)["partitions"] == {}


def test_the_name_of_the_cluster_and_the_log_level_are_set(cli: Cli, api: Api) -> None:
    before = api.get("cluster-name")["name"]
    assert ctl(cli, "set_cluster_name", "meadow").code == 0
    assert api.get("cluster-name")["name"] == "meadow"
    api.put("cluster-name", body={"name": before})
    assert ctl(cli, "set_log_level", "info").code == 0


def test_a_report_is_made_of_everything(cli: Cli, shop: str) -> None:
    ended = ctl(cli, "report")
    assert ended.code == 0 and "Listing queues for vhost" in ended.out and "q1" in ended.out


def test_plugins_are_built_in(cli: Cli) -> None:
    tool = ("ctl", "--script-name", "rabbitmq-plugins")
    enabled = cli.ok(*tool, "enable", "--offline", "rabbitmq_management", "rabbitmq_shovel_of_mine")
    assert "harebell has no rabbitmq_shovel_of_mine: ignored" in enabled.out
    assert "rabbitmq_prometheus" in cli.ok(*tool, "list", "-q", "--minimal").lines
    assert cli(*tool, "is_enabled", "rabbitmq_management").code == 0
    assert cli(*tool, "is_enabled", "rabbitmq_mqtt").code == 65
    assert cli(*tool, "disable", "rabbitmq_management").code == 0


def test_every_command_says_what_it_does() -> None:
    for tool in ("rabbitmqctl", "rabbitmq-plugins"):
        for name in names(tool):
            command = find(name, tool)
            assert command is not None and command.handler.__doc__, name


def test_probes_import_nothing_they_do_not_need(url: str, http_broker: BrokerProcess) -> None:
    code = (
        "import sys; from harebell.cli import main\n"
        "try: main(['ctl', '-q', 'ping'])\n"
        "except SystemExit as ended: assert ended.code == 0\n"
        "print({'click', 'pydantic', 'asyncio', 'aiohttp', 'structlog', 'http.client'} & set(sys.modules))\n"
    )
    environ = {**environment(), "HAREBELL_URL": url, "HAREBELL_SERVER__PORT": str(http_broker.port)}
    ended = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True
    )
    assert ended.stdout.splitlines() == ["Ping succeeded", "set()"]
