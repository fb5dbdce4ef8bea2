"""Logins are counted, and slowed down where passwords are guessed."""

from __future__ import annotations

import pytest

from harebell.auth.attempts import MAX_GUESSERS, AttemptCounts, LoginAttempts
from harebell.ports import Clock

HERE = "192.0.2.1"


@pytest.fixture
def clock() -> Clock:
    made = Clock()
    made.now = 1_000_000
    return made


@pytest.fixture
def attempts(clock: Clock) -> LoginAttempts:
    return LoginAttempts(3, clock)


def fail(attempts: LoginAttempts, times: int, username: str = "u", peer: str = HERE) -> None:
    for _ in range(times):
        attempts.failed("amqp", username, peer)


def test_some_wrong_passwords_are_free(attempts: LoginAttempts) -> None:
    fail(attempts, 2)
    assert attempts.pause("u", HERE) == 0


def test_each_further_one_has_a_pause_twice_as_long_up_to_the_longest(
    attempts: LoginAttempts, clock: Clock
) -> None:
    fail(attempts, 2)
    pauses = []
    for _ in range(7):
        fail(attempts, 1)
        pauses.append(attempts.pause("u", HERE))
        clock.now += int(pauses[-1] * 1000)
        assert attempts.pause("u", HERE) == 0
    assert pauses == [0.5, 1, 2, 4, 8, 8, 8]


def test_a_pause_grows_shorter_as_time_goes_by(attempts: LoginAttempts, clock: Clock) -> None:
    fail(attempts, 5)
    assert attempts.pause("u", HERE) == 2
    clock.now += 1500
    assert attempts.pause("u", HERE) == 0.5


def test_other_users_and_other_addresses_have_no_pause(attempts: LoginAttempts) -> None:
    fail(attempts, 9)
    assert attempts.pause("v", HERE) == 0
    assert attempts.pause("u", "192.0.2.2") == 0


def test_a_login_ends_it(attempts: LoginAttempts) -> None:
    fail(attempts, 9)
    attempts.succeeded("amqp", "u", HERE)
    assert attempts.pause("u", HERE) == 0
    fail(attempts, 2)
    assert attempts.pause("u", HERE) == 0


def test_so_does_a_minute_without_a_wrong_password(attempts: LoginAttempts, clock: Clock) -> None:
    fail(attempts, 9)
    clock.now += 61_000
    fail(attempts, 1)
    assert attempts.pause("u", HERE) == 0


def test_a_great_many_are_no_overflow(attempts: LoginAttempts) -> None:
    fail(attempts, 5000)
    assert attempts.pause("u", HERE) == 8


def test_no_number_that_is_free_means_no_pause_ever(clock: Clock) -> None:
    attempts = LoginAttempts(0, clock)
    fail(attempts, 100)
    assert attempts.pause("u", HERE) == 0
    assert attempts.counts["amqp"].failed == 100


def test_what_is_remembered_is_bounded_and_the_oldest_go_first(attempts: LoginAttempts) -> None:
    fail(attempts, 5, "first")
    fail(attempts, 5, "second")
    fail(attempts, 1, "first")
    for number in range(MAX_GUESSERS - 1):
        fail(attempts, 1, f"u{number}")
    assert attempts.pause("first", HERE) > 0
    assert attempts.pause("second", HERE) == 0
    long = "x" * 100_000
    fail(attempts, 5, long)
    assert attempts.pause(long, HERE) > 0
    assert all(len(name) <= 256 for name, _ in attempts._guessers)


def test_attempts_are_counted_by_protocol(attempts: LoginAttempts) -> None:
    fail(attempts, 2)
    attempts.succeeded("amqp", "u", HERE)
    attempts.slowed("http")
    assert attempts.counts == {"amqp": AttemptCounts(1, 2, 0), "http": AttemptCounts(0, 1, 1)}
    fail(attempts, 5)
    attempts.reset()
    assert attempts.counts == {}
    assert attempts.pause("u", HERE) > 0, "counting anew lets nobody go on guessing"
