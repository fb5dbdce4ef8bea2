"""Definitions: what goes out comes in again, what is wrong is said, and nothing is half imported."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from harebell.administration.administration import Administration
from harebell.administration.definitions import Import, exported, exported_vhost, hash_passwords
from harebell.administration.parameters import set_global_parameter, set_parameter
from harebell.administration.users import (
    put_user,
    set_permissions,
    set_topic_permissions,
    set_user_limit,
)
from harebell.administration.vhosts import put_vhost
from harebell.auth.passwords import hash_password
from harebell.engine.policy_control import set_policy, set_vhost_limit
from harebell.errors import BrokerError
from tests.support.administration import administration_of
from tests.support.journal import DelayedJournal
from tests.support.node import Node

FILES = Path(__file__).parent / "definitions"
HASH = "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR"


@pytest.fixture
def node() -> Node:
    return Node(DelayedJournal())


@pytest.fixture
def admin(node: Node) -> Administration:
    return administration_of(node)


def file(name: str) -> Any:
    return json.loads((FILES / name).read_text())


def run(admin: Administration, document: object, vhost: str | None = None, **how: Any) -> Import:
    work = Import(admin, document, vhost, **how)
    work.run()
    return work


def refused(admin: Administration, document: object, vhost: str | None = None) -> str:
    """Give the text with which an import is refused, after a look that nothing has changed."""
    before = exported(admin).document()
    with pytest.raises(BrokerError) as error:
        run(admin, document, vhost)
    assert exported(admin).document() == before, "a refused import must change nothing"
    return error.value.text


def queue(name: str, vhost: str = "/", **fields: object) -> dict[str, object]:
    row = {"name": name, "vhost": vhost, "durable": True, "auto_delete": False, "arguments": {}}
    return {**row, **fields}


def populated() -> Administration:
    """Give a node with one of everything."""
    node = Node()
    admin = administration_of(node)
    put_vhost(admin, "v", description="d", tags=["t"], default_queue_type="quorum", protected=True)
    put_user(admin, "ann", hash_password(b"secret"), ["administrator", "monitoring"])
    put_user(admin, "certificate-only", None, [])
    set_user_limit(admin, "ann", "max-channels", 3)
    set_permissions(admin, "v", "ann", "^a", "", ".*")
    set_permissions(admin, "v", "guest", ".*", ".*", ".*")
    set_topic_permissions(admin, "v", "ann", "amq.topic", "^a", "^b")
    set_vhost_limit(admin.broker, "v", "max-queues", 50)
    set_policy(admin.broker, "v", "p", "^q", {"max-length": 5}, priority=2, apply_to="queues")
    set_policy(admin.broker, "v", "o", "^q", {"max-length": 4}, operator=True)
    set_parameter(admin, "v", "shovel", "s", {"src-uri": "amqp://"})
    set_global_parameter(admin, "g", [1, {"a": None}])
    client = node.client()
    client.open(vhost="v")
    channel = client.channel()
    channel.declare_queue("quorum", durable=True)
    channel.declare_queue("classic", durable=True, arguments={"x-queue-type": "classic"})
    channel.declare_queue("stream", durable=True, arguments={"x-queue-type": "stream"})
    channel.declare_queue("transient", arguments={"x-expires": 1000})
    channel.declare_queue("mine", exclusive=True)
    channel.declare_exchange("e", "headers", durable=True, arguments={"alternate-exchange": "f"})
    channel.declare_exchange("f", "fanout", auto_delete=True)
    channel.bind("classic", "e", "", {"x-match": "any", "n": 1, "deep": {"a": [True]}})
    channel.bind("quorum", "amq.topic", "a.#")
    channel.bind("mine", "amq.topic", "a.#")
    return admin


def test_what_is_exported_and_imported_elsewhere_is_exported_the_same(admin: Administration) -> None:
    document = json.loads(json.dumps(exported(populated()).document()))
    work = run(admin, copy.deepcopy(document))
    assert work.warnings == []
    assert work.lsn > 0
    again = json.loads(json.dumps(exported(admin).document()))
    assert again == document


def test_policies_go_to_rabbitmq_without_the_keys_it_refuses_and_come_back_whole(
    admin: Administration,
) -> None:
    node = Node()
    there = administration_of(node)
    set_policy(
        node.broker, "/", "both", "^q", {"max-length": 5, "group-header": "customer"}, apply_to="queues"
    )
    set_policy(node.broker, "/", "own", "^x", {"delayed": True}, apply_to="exchanges")
    set_policy(node.broker, "/", "o", "^q", {"max-length": 4, "delivery-rate": 7}, operator=True)
    document: Any = json.loads(json.dumps(exported(there).document()))
    shown = {policy["name"]: policy["definition"] for policy in document["policies"]}
    assert shown == {"both": {"max-length": 5}}
    (operator,) = document["parameters"]
    assert operator["value"]["definition"] == {"max-length": 4}
    run(admin, copy.deepcopy(document))
    assert json.loads(json.dumps(exported(admin).document())) == document


def test_importing_what_is_there_changes_and_writes_nothing(node: Node, admin: Administration) -> None:
    document = exported(populated()).document()
    run(admin, json.loads(json.dumps(document)))
    before = node.journal.appended
    work = run(admin, json.loads(json.dumps(document)))
    assert (work.differences, work.warnings, work.lsn) == ([], [], 0)
    assert node.journal.appended == before


def test_an_export_has_rabbitmqs_form(admin: Administration) -> None:
    document = exported(populated()).document()
    assert document["rabbitmq_definition_format"] == "cluster"
    assert document["rabbit_version"] == document["rabbitmq_version"] == "3.13.7"
    sections: Any = document
    assert sections["users"][1] == {
        "name": "certificate-only",
        "password_hash": "",
        "hashing_algorithm": "rabbit_password_hashing_sha256",
        "tags": [],
        "limits": {},
    }
    assert sections["vhosts"][1] == {
        "name": "v",
        "description": "d",
        "tags": ["t"],
        "default_queue_type": "quorum",
        "protected_from_deletion": True,
        "metadata": {
            "description": "d",
            "tags": ["t"],
            "default_queue_type": "quorum",
            "protected_from_deletion": True,
        },
    }
    assert [row["name"] for row in sections["queues"]] == ["quorum", "classic", "stream", "transient"]
    assert [row["name"] for row in sections["exchanges"]] == ["e", "f"]
    assert [row["destination"] for row in sections["bindings"]] == ["quorum", "classic"]
    assert sections["policies"][0]["apply-to"] == "queues"
    components = sorted(row["component"] for row in sections["parameters"])
    assert components == ["operator_policy", "shovel", "vhost-limits"]


def test_an_export_of_one_virtual_host_does_not_say_where_and_goes_into_another(
    admin: Administration,
) -> None:
    document: Any = exported_vhost(populated(), "v").document()
    assert document["rabbitmq_definition_format"] == "single_virtual_host"
    assert all(
        "vhost" not in row for section in ("queues", "exchanges", "bindings") for row in document[section]
    )
    put_vhost(admin, "w", default_queue_type="quorum")
    work = run(admin, json.loads(json.dumps(document)), "w")
    assert work.warnings == []
    assert set(admin.broker.vhosts["w"].queues) == {"quorum", "classic", "stream", "transient"}
    assert admin.broker.vhosts["w"].queues["classic"].type_name == "classic"
    assert admin.broker.vhosts["w"].limits == {"max-queues": 50}
    assert set(admin.broker.vhosts) == {"/", "w"}


def test_a_vhost_import_leaves_users_and_virtual_hosts_alone(admin: Administration) -> None:
    document = {
        "users": [{"name": "eve", "tags": ["administrator"]}],
        "vhosts": [{"name": "x"}],
        "queues": [],
    }
    work = run(admin, document, "/")
    assert work.warnings == [
        "users are passed over: they belong to no single virtual host",
        "vhosts are passed over: they belong to no single virtual host",
    ]
    assert "eve" not in admin.directory.users
    assert set(admin.broker.vhosts) == {"/"}


def test_a_file_with_a_version_and_nothing_else_is_fine(admin: Administration) -> None:
    assert run(admin, {"rabbit_version": "3.8.0"}).differences == []


@pytest.mark.parametrize(
    "name", ["rabbitmq-3.5.json", "rabbitmq-3.10.json", "rabbitmq-4.1.json", "lavinmq-2.json"]
)
def test_files_of_other_brokers_are_understood(admin: Administration, name: str) -> None:
    document = file(name)
    run(admin, document)
    broker = admin.broker
    assert {"orders", "events"} <= set(broker.vhosts["shop"].queues)
    assert "shop" in broker.vhosts["shop"].exchanges
    assert admin.directory.users["ann"].tags == ("administrator", "monitoring")
    assert admin.directory.users["ann"].password is not None
    assert admin.directory.users["ann"].permissions["shop"].texts() == (".*", ".*", ".*")
    policy = broker.vhosts["shop"].policies.regular.get("length")
    assert policy is not None and policy.definition == {"max-length": 1000}
    assert len(broker.vhosts["shop"].exchanges["shop"].bindings) == 1
    assert run(admin, file(name)).differences == []


def test_a_hash_of_an_algorithm_not_known_here_leaves_a_user_without_password(admin: Administration) -> None:
    user = {"name": "u", "password_hash": "$2a$10$abc", "hashing_algorithm": "Bcrypt", "tags": ""}
    work = run(admin, {"users": [user]})
    assert "user 'u' gets no password" in work.warnings[0]
    assert admin.directory.users["u"].password is None


def test_a_password_in_clear_is_hashed_before_and_a_known_one_keeps_its_hash(admin: Administration) -> None:
    document: Any = {"users": [{"name": "u", "password": "secret", "tags": "a, b"}]}
    assert "was not hashed" in refused(admin, document)
    hash_passwords(admin, document)
    assert "secret" not in json.dumps(document)
    run(admin, document)
    record = admin.directory.users["u"]
    assert record.tags == ("a", "b")
    assert record.password is not None and record.password.verify(b"secret")
    again: Any = {"users": [{"name": "u", "password": "secret", "tags": "a, b"}]}
    hash_passwords(admin, again)
    assert run(admin, again).differences == []


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ([], "definitions should be an object"),
        ({"queues": "x"}, "queues should be a list"),
        ({"queues": [5]}, "queues[0] should be an object, actually was 5"),
        ({"queues": [{"name": "q"}]}, 'queues[0] (<<"q">>) names no virtual host'),
        ({"queues": [queue("q"), queue("r", "nosuch")]}, "no virtual host 'nosuch' (queue 'r'"),
        ({"queues": [queue("q", durable="yes")]}, 'durable should be true or false, actually was <<"yes">>'),
        ({"queues": [queue("")]}, "a queue has a name"),
        ({"queues": [queue("n" * 256)]}, "name is longer than 255 octets"),
        ({"queues": [queue("\ud800")]}, "name cannot be written in UTF-8"),
        ({"queues": [queue("q", exclusive=True)]}, "is exclusive"),
        ({"queues": [queue("q", arguments=5)]}, "arguments should be an object"),
        (
            {"queues": [queue("q", arguments={"x-max-length": "a"})]},
            "invalid arg 'x-max-length' for queue 'q'",
        ),
        ({"queues": [queue("q", arguments={"k": 2**70})]}, "its arguments cannot be kept"),
        ({"queues": [queue("q", arguments={"x-queue-type": "nosuch"})]}, "unsupported queue type"),
        ({"queues": [queue("q", durable=False, arguments={"x-queue-type": "quorum"})]}, "'non-durable'"),
        ({"exchanges": [{"name": "e", "vhost": "/", "type": "nosuch"}]}, "unknown exchange type 'nosuch'"),
        ({"bindings": [{"vhost": "/", "source": "e"}]}, "bindings[0] has no destination"),
        (
            {"bindings": [{"vhost": "/", "source": "e", "destination": "q", "destination_type": "x"}]},
            "destination_type should be queue or exchange",
        ),
        ({"users": [{"name": "u", "tags": 5}]}, "tags should be a list of texts"),
        ({"users": [{"name": "u", "tags": [], "limits": {"max-x": 1}}]}, "Unrecognised terms"),
        ({"users": [{"name": "u", "tags": [], "password_hash": "x"}]}, "not in base64"),
        ({"vhosts": [{"name": "v", "default_queue_type": "nosuch"}]}, "invalid queue type"),
        ({"vhosts": [{"name": ""}]}, "1 to 255 octets"),
        (
            {"permissions": [{"user": "nosuch", "vhost": "/", "configure": "", "write": "", "read": ""}]},
            "there is no user 'nosuch'",
        ),
        (
            {"permissions": [{"user": "guest", "vhost": "/", "configure": "[", "write": "", "read": ""}]},
            "invalid regular expression",
        ),
        (
            {"policies": [{"vhost": "/", "name": "p", "pattern": "^a", "definition": {"max-length": "x"}}]},
            "is not a valid maximum length\n (policy 'p' in virtual host '/')",
        ),
        (
            {"parameters": [{"vhost": "/", "component": "vhost-limits", "name": "limits", "value": 5}]},
            "limits",
        ),
        ({"global_parameters": [{"name": "g"}]}, 'global_parameters[0] (<<"g">>) has no value'),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_imported(
    admin: Administration, document: object, text: str
) -> None:
    first: Any = {"vhosts": [{"name": "before"}], "queues": [queue("before")]}
    whole = document
    if isinstance(document, dict):
        whole = {**first, **document}
        for section in ("vhosts", "queues"):
            if isinstance(document.get(section), list) and document[section] != [5]:
                whole[section] = [*document[section]]
    assert text in refused(admin, whole)


def test_a_limit_of_queues_refuses_all_in_rabbitmqs_words(admin: Administration) -> None:
    set_vhost_limit(admin.broker, "/", "max-queues", 2)
    run(admin, {"queues": [queue("a")]})
    text = refused(admin, {"queues": [queue("a"), queue("b"), queue("c")]})
    assert text == (
        'Adding 2 queue(s) to virtual host "/" would exceed the limit of 2 queue(s).\n\n'
        "This virtual host currently has 1 queue(s) defined.\n\nImport aborted!"
    )


def test_limits_that_are_none_come_as_an_empty_list_from_rabbitmq(admin: Administration) -> None:
    row = {"vhost": "/", "component": "vhost-limits", "name": "limits", "value": []}
    assert run(admin, {"parameters": [row]}).differences == []
    set_vhost_limit(admin.broker, "/", "max-queues", 2)
    assert [each.action for each in run(admin, {"parameters": [row]}).differences] == ["change"]
    assert admin.broker.vhosts["/"].limits == {}


def test_limits_in_the_file_itself_count(admin: Administration) -> None:
    limit = {"vhost": "/", "component": "vhost-limits", "name": "limits", "value": {"max-queues": 1}}
    assert "exceed the limit of 1" in refused(
        admin, {"parameters": [limit], "queues": [queue("a"), queue("b")]}
    )


def test_queues_and_exchanges_that_differ_stay_as_they_are(admin: Administration) -> None:
    run(admin, {"queues": [queue("q")], "exchanges": [{"name": "e", "vhost": "/", "type": "fanout"}]})
    work = run(
        admin,
        {
            "queues": [queue("q", durable=False, arguments={"x-max-length": 5})],
            "exchanges": [{"name": "e", "vhost": "/", "type": "topic"}],
        },
    )
    assert [difference.action for difference in work.differences] == ["keep", "keep"]
    assert "queue 'q' in virtual host '/' stays as it is: durable is true, not false" in work.warnings[1]
    assert admin.broker.vhosts["/"].queues["q"].durable
    assert admin.broker.vhosts["/"].exchanges["e"].type_name == "fanout"


def test_a_queue_that_is_there_is_not_measured_by_another_default_type(admin: Administration) -> None:
    run(admin, {"queues": [queue("q", arguments={"x-max-priority": 5})]})
    put_vhost(admin, "/", default_queue_type="quorum")
    work = run(admin, {"queues": [queue("q", arguments={"x-max-priority": 5})]})
    assert work.differences == []
    work = run(admin, {"queues": [queue("q", arguments={"x-queue-type": "quorum"})]})
    assert work.differences[0].detail.startswith('type is <<"classic">>, not <<"quorum">>')


def test_a_binding_without_its_ends_is_passed_over_as_on_rabbitmq(admin: Administration) -> None:
    row = {"vhost": "/", "source": "nosuch", "destination": "q", "destination_type": "queue"}
    work = run(admin, {"queues": [queue("q")], "bindings": [row, {**row, "source": "amq.topic"}]})
    assert [difference.action for difference in work.differences] == ["add", "skip", "add"]
    assert work.warnings[0].endswith("is passed over: there is no exchange 'nosuch'")
    work = run(admin, {"bindings": [{**row, "source": "amq.topic", "destination": "r"}]})
    assert work.warnings[0].endswith("is passed over: there is no queue 'r'")


def test_names_of_the_brokers_own_exchanges_are_passed_over(admin: Administration) -> None:
    rows = [
        {"name": name, "vhost": "/", "type": "direct"}
        for name in ("", "amq.default", "amq.direct", "amq.nosuch")
    ]
    work = run(admin, {"exchanges": rows})
    assert [(each.action, each.label) for each in work.differences] == [
        ("skip", "exchange 'amq.nosuch' in virtual host '/'")
    ]


def test_what_is_not_known_is_passed_over_with_one_warning_for_each_key(admin: Administration) -> None:
    rows = [queue(f"q{number}", colour="blue") for number in range(3)]
    work = run(admin, {"queues": rows, "colours": []})
    assert work.warnings == [
        '<<"colours">> is not known here and passed over',
        'queues[0] has <<"colour">>, which is not known here and passed over',
    ]


def test_a_parameter_of_a_component_not_known_here_is_kept(admin: Administration) -> None:
    row = {"vhost": "/", "component": "mqtt", "name": "n", "value": {"a": 1}}
    work = run(admin, {"parameters": [row]})
    assert work.warnings == ["parameters of component 'mqtt' are kept, and mean nothing here"]
    assert exported(admin).document()["parameters"] == [row]


def test_a_dry_run_tells_what_would_change_and_changes_nothing(admin: Administration) -> None:
    document = json.loads(json.dumps(exported(populated()).document()))
    before = exported(admin).document()
    work = run(admin, document, dry_run=True)
    assert exported(admin).document() == before
    assert {difference.action for difference in work.differences} == {"add", "change"}
    changes = [each for each in work.differences if each.action == "change"]
    assert [(each.kind, each.label, each.detail) for each in changes] == [
        ("user", "user 'guest'", "the password is another")
    ]
    assert sum(each.kind == "binding" for each in work.differences) == 2


def test_changes_are_told_in_words(admin: Administration) -> None:
    run(admin, json.loads(json.dumps(exported(populated()).document())))
    document: Any = json.loads(json.dumps(exported(admin).document()))
    document["vhosts"][1]["description"] = "other"
    document["policies"][0]["priority"] = 9
    document["permissions"][0]["read"] = "^x"
    document["global_parameters"][0]["value"] = "new"
    work = run(admin, document)
    assert [(each.kind, each.action, each.detail) for each in work.differences] == [
        ("vhost", "change", 'description is <<"d">>, not <<"other">>'),
        ("permission", "change", 'read is <<".*">>, not <<"^x">>'),
        (
            "global_parameter",
            "change",
            'the value is [1,#{<<"a">> => null}], not <<"new">>',
        ),
        ("policy", "change", "priority is 2, not 9"),
    ]
    assert run(admin, document).differences == []


def test_the_type_beside_the_arguments_counts(admin: Administration) -> None:
    put_vhost(admin, "v", default_queue_type="quorum")
    rows = [
        queue("a", "v", type="classic"),
        queue("b", "v", type="rabbit_stream_queue"),
        queue("c", "v"),
        queue("d", "v", type="quorum"),
    ]
    run(admin, {"queues": rows})
    queues = admin.broker.vhosts["v"].queues
    assert {name: queues[name].type_name for name in queues} == {
        "a": "classic",
        "b": "stream",
        "c": "quorum",
        "d": "quorum",
    }
    assert run(admin, {"queues": rows}).differences == []


def test_who_imports_gets_permissions_in_new_virtual_hosts_only(admin: Administration) -> None:
    put_vhost(admin, "old")
    run(admin, {"vhosts": [{"name": "old"}, {"name": "new"}]}, creator="guest")
    assert set(admin.directory.users["guest"].permissions) == {"/", "new"}


def test_steps_tell_how_far_an_import_is(admin: Administration) -> None:
    work = Import(admin, {"queues": [queue(f"q{number}") for number in range(50)]})
    seen = list(work.steps())
    assert [seen[0], seen[-1]] == [(1, 100), (100, 100)]


def test_octets_in_arguments_are_left_to_who_writes_the_json() -> None:
    node = Node()
    admin = administration_of(node)
    channel = node.connect().channel()
    channel.declare_queue("q", durable=True, arguments={"x": bytearray(b"\xff")})
    document: Any = exported(admin).document()
    assert document["queues"][0]["arguments"] == {"x": b"\xff"}


def test_a_queue_that_retains_goes_without_its_stream_which_comes_by_itself() -> None:
    node = Node()
    admin = administration_of(node)
    node.connect().channel().declare_queue("q", durable=True, arguments={"x-retain": "1D"})
    document: Any = exported(admin).document()
    assert [row["name"] for row in document["queues"]] == ["q"]
    other = administration_of(Node())
    run(other, json.loads(json.dumps(document)))
    assert len(other.broker.vhosts["/"].queues) == 2
