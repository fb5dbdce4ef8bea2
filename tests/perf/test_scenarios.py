import pytest

from harebell.perf.command import options_from, perf
from harebell.perf.options import Options
from harebell.perf.scenarios import BY_NAME, SCENARIOS, Scenario


def options(*arguments: str) -> Options:
    return options_from(perf.make_context("perf", list(arguments)))


def test_the_standard_scenarios_have_these_names() -> None:
    assert list(BY_NAME) == [
        "auto-ack",
        "ack-each",
        "ack-multiple",
        "fanout5",
        "1k",
        "latency",
        "confirm",
        "persistent",
        "persistent-multiple",
        "persistent-single",
    ]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_every_scenario_sets_options_that_exist_and_go_together(scenario: Scenario) -> None:
    known = {parameter.name for parameter in perf.params}
    assert set(scenario.settings) <= known, "a scenario names an option that the command does not have"
    options("--scenario", scenario.name)


def test_options_given_beside_a_scenario_win() -> None:
    mixed = options("--prefetch", "7", "--scenario", "ack-each", "--in-flight", "0")
    assert (mixed.ack_every, mixed.prefetch, mixed.in_flight) == (1, 7, 0)


def test_without_a_scenario_the_defaults_hold() -> None:
    assert options() == Options()
