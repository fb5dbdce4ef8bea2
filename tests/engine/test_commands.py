"""Commands as octets: what the journal keeps of a change of metadata."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harebell.content.table import Table, encode_table
from harebell.engine.commands import (
    Bind,
    ClearPolicy,
    Command,
    CreateVhost,
    DeclareExchange,
    DeclareQueue,
    DeleteExchange,
    DeleteQueue,
    DeleteVhost,
    SetPolicy,
    SetVhostDefaultQueueType,
    SetVhostLimits,
    Unbind,
    decode,
    encode,
)

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.just("\udcff\udcfe")
TABLES: st.SearchStrategy[Table] = st.dictionaries(
    NAMES,
    st.one_of(
        st.booleans(), st.integers(-(1 << 63), (1 << 63) - 1), NAMES, st.none(), st.lists(NAMES, max_size=2)
    ),
    max_size=3,
)
FLAGS = st.booleans()
COMMANDS: st.SearchStrategy[Command] = st.one_of(
    st.builds(CreateVhost, NAMES),
    st.builds(DeleteVhost, NAMES),
    st.builds(DeclareExchange, NAMES, NAMES, NAMES, FLAGS, FLAGS, FLAGS, TABLES),
    st.builds(DeleteExchange, NAMES, NAMES),
    st.builds(
        DeclareQueue,
        vhost=NAMES,
        name=NAMES,
        type_name=NAMES,
        durable=FLAGS,
        owner=st.just(0),
        auto_delete=FLAGS,
        arguments=TABLES,
        queue_id=st.integers(0, 1 << 62),
    ),
    st.builds(DeleteQueue, NAMES, NAMES),
    st.builds(Bind, NAMES, NAMES, NAMES, FLAGS, NAMES, TABLES),
    st.builds(Unbind, NAMES, NAMES, NAMES, FLAGS, NAMES, TABLES),
    st.builds(SetPolicy, NAMES, NAMES, NAMES, NAMES, TABLES, st.integers(-(1 << 63), (1 << 63) - 1), FLAGS),
    st.builds(ClearPolicy, NAMES, NAMES, FLAGS),
    st.builds(SetVhostLimits, NAMES, TABLES),
    st.builds(SetVhostDefaultQueueType, NAMES, NAMES),
)


@given(COMMANDS)
def test_a_command_survives_the_journal(command: Command) -> None:
    assert decode(encode(command)) == command


def test_a_command_of_a_later_version_is_told_apart() -> None:
    with pytest.raises(KeyError):
        decode(encode_table({"command": "InventTheWheel", "name": "x"}))
