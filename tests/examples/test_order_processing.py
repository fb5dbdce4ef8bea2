"""The example in ``examples/order_processing`` does what its README says, and its report can be believed."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest

from examples.order_processing import topology
from examples.order_processing.__main__ import main
from examples.order_processing.day import POISON, live
from examples.order_processing.orders import event_id
from examples.order_processing.report import Outcome, discrepancies
from examples.order_processing.timeline import Timeline
from harebell import Broker
from tests.server.process import environment

ROOT = Path(__file__).parents[2]
SECONDS = 50


@pytest.fixture
async def lived() -> tuple[Outcome, str]:
    """A day on a broker in this process: what came of it, and what was printed."""
    out = io.StringIO()
    async with Broker() as broker:
        outcome = await live(broker.url, Timeline(out))
    return outcome, out.getvalue()


async def test_everybody_gets_every_order_and_every_event_once(lived: tuple[Outcome, str]) -> None:
    outcome, printed = lived
    assert discrepancies(outcome) == [], printed
    numbers = range(1, 9)
    assert outcome.ledgers["payment"].done == {f"order-{number}-placed" for number in numbers}
    assert outcome.ledgers["restaurant"].done == {f"order-{number}-paid" for number in numbers}
    assert outcome.ledgers["delivery"].done == {f"order-{number}-cooked" for number in numbers}
    assert len(outcome.ledgers["notification"].done) == len(outcome.ledgers["analytics"].done) == 32
    assert outcome.charged_cents == outcome.revenue_cents == 8810


async def test_notification_resumes_where_it_was_and_analytics_replays_from_the_first_event(
    lived: tuple[Outcome, str],
) -> None:
    outcome, printed = lived
    assert outcome.notified == outcome.replayed == list(range(33)), printed
    assert "notification is back, and resumes at event 13" in printed


async def test_duplicates_are_recognised_whether_sent_or_delivered_again(lived: tuple[Outcome, str]) -> None:
    outcome, printed = lived
    assert {name: ledger.duplicates for name, ledger in outcome.ledgers.items()} == {
        "payment": 1,
        "restaurant": 0,
        "delivery": 1,
        "notification": 1,
        "analytics": 1,
    }
    assert re.search(r"payment +recognises order-2-placed, sent twice", printed), printed
    assert re.search(r"delivery +recognises order-6-cooked, delivered again", printed), printed


async def test_the_poisoned_order_is_tried_thrice_dead_lettered_and_redriven(
    lived: tuple[Outcome, str],
) -> None:
    outcome, printed = lived
    letter = event_id("paid", POISON)
    assert outcome.ledgers["restaurant"].failures == topology.DELIVERY_LIMIT + 1 == 3, printed
    assert outcome.alarms == outcome.redriven == [letter], printed
    assert outcome.left == dict.fromkeys((*topology.WORK, topology.DEAD_LETTERS), 0)


async def test_a_second_day_on_the_same_broker_begins_afresh() -> None:
    async with Broker() as broker:
        for _ in range(2):
            out = io.StringIO()
            outcome = await live(broker.url, Timeline(out))
            assert discrepancies(outcome) == [], out.getvalue()


def forget_a_charge(outcome: Outcome) -> None:
    outcome.charged_cents -= 1150


def miss_an_event(outcome: Outcome) -> None:
    outcome.notified.remove(13)


def replay_an_event_twice(outcome: Outcome) -> None:
    outcome.replayed.insert(1, 0)


def cook_nothing_for_an_order(outcome: Outcome) -> None:
    outcome.ledgers["restaurant"].done.remove("order-3-paid")


def leave_a_dead_letter(outcome: Outcome) -> None:
    outcome.redriven.clear()
    outcome.left[topology.DEAD_LETTERS] = 1


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (forget_a_charge, "cents charged"),
        (miss_an_event, "events notification got"),
        (replay_an_event_twice, "events analytics replayed"),
        (cook_nothing_for_an_order, "restaurant did"),
        (leave_a_dead_letter, "messages left"),
    ],
)
async def test_the_report_says_what_does_not_add_up(
    lived: tuple[Outcome, str], spoil: Callable[[Outcome], None], words: str
) -> None:
    outcome = deepcopy(lived[0])
    spoil(outcome)
    assert any(line.startswith(words) for line in discrepancies(outcome))


def test_one_command_runs_it_and_prints_a_timeline_and_a_table() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "examples.order_processing"],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        encoding="utf-8",
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert "\x1b" not in done.stdout, "colours are for terminals only"
    parts = re.findall(r"^(Morning|Noon|Afternoon|Evening|Night):", done.stdout, re.MULTILINE)
    assert parts == ["Morning", "Noon", "Afternoon", "Evening", "Night"]
    rows = [line.split() for line in done.stdout.partition("service  ")[2].splitlines()]
    for row in (
        ["payment", "9", "8", "1", "0"],
        ["restaurant", "11", "8", "0", "3"],
        ["delivery", "9", "8", "1", "0"],
        ["notification", "33", "32", "1", "0"],
        ["analytics", "33", "32", "1", "0"],
        ["dead", "letters", "1"],
        ["redriven", "1"],
    ):
        assert row in rows, done.stdout
    assert done.stdout.endswith("Everything adds up.\n")


def test_a_broker_that_is_not_there_ends_it_with_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--url", "amqp://guest:guest@127.0.0.1:1/"]) == 1
    assert "The day ended too soon:" in capsys.readouterr().out
