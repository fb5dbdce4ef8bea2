"""Passwords are verified on threads, each pair of password and hash once, and never too many at a time."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator

import pytest

from harebell.auth import password_checks
from harebell.auth.password_checks import MAX_GUESSES, PasswordChecks
from harebell.auth.passwords import ARGON2ID, Cost, PasswordHash, decode_hash, hash_password

CHEAP = Cost(8, 1, 1)


def cheap_hash(password: bytes, salt: bytes = b"some salt") -> PasswordHash:
    """Hash with Argon2id at the least cost there is."""
    from argon2.low_level import Type, hash_secret_raw

    digest = hash_secret_raw(password, salt, CHEAP.passes, CHEAP.memory, CHEAP.lanes, 32, Type.ID)
    return PasswordHash(ARGON2ID, salt, digest, CHEAP)


class Loop:
    """Takes what threads hand back, and calls it when the test says."""

    def __init__(self) -> None:
        self._posted: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

    def post(self, callback: Callable[[], None]) -> None:
        assert threading.current_thread() is not threading.main_thread()
        self._posted.put(callback)

    def run(self, count: int = 1) -> None:
        """Wait for so many answers."""
        for _ in range(count):
            self._posted.get(timeout=20)()

    @property
    def idle(self) -> bool:
        return self._posted.empty()


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def checks(loop: Loop) -> Iterator[PasswordChecks]:
    made = PasswordChecks()
    made.begin(loop.post)
    yield made
    made.stop()


def test_a_slow_hash_is_verified_on_a_thread(checks: PasswordChecks, loop: Loop) -> None:
    answers: list[bool] = []
    known = cheap_hash(b"secret")
    checks.verify(known, b"secret", "u", answers.append)
    checks.verify(known, b"wrong", "u", answers.append)
    assert answers == []
    loop.run(2)
    assert sorted(answers) == [False, True]


def test_a_fast_one_is_answered_at_once(checks: PasswordChecks, loop: Loop) -> None:
    answers: list[bool] = []
    checks.verify(hash_password(b"secret"), b"secret", "u", answers.append)
    checks.verify(hash_password(b"secret"), b"wrong", "u", answers.append)
    assert answers == [True, False]
    assert loop.idle


def test_without_a_loop_a_slow_one_is_too() -> None:
    answers: list[bool] = []
    checks = PasswordChecks()
    known = cheap_hash(b"secret")
    for password in (b"secret", b"wrong", b"secret"):
        checks.verify(known, password, "u", answers.append)
    assert answers == [True, False, True]
    assert checks.hashed == 2


def test_a_good_password_is_hashed_once(checks: PasswordChecks, loop: Loop) -> None:
    answers: list[bool] = []
    known = cheap_hash(b"secret")
    for _ in range(50):
        checks.verify(known, b"secret", "u", answers.append)
    loop.run()
    assert answers == [True] * 50
    checks.verify(decode_hash(known.encode()), b"secret", "elsewhere", answers.append)
    assert answers == [True] * 51
    assert (checks.hashed, loop.idle) == (1, True)


def test_a_wrong_one_is_hashed_each_time(checks: PasswordChecks, loop: Loop) -> None:
    answers: list[bool] = []
    known = cheap_hash(b"secret")
    for _ in range(3):
        checks.verify(known, b"wrong", "u", answers.append)
        loop.run()
    assert answers == [False] * 3
    assert checks.hashed == 3


def test_another_hash_of_the_same_password_is_another_matter(checks: PasswordChecks, loop: Loop) -> None:
    answers: list[bool] = []
    for salt in (b"some salt", b"more salt"):
        checks.verify(cheap_hash(b"secret", salt), b"secret", "u", answers.append)
        loop.run()
    assert checks.hashed == 2


def test_what_is_remembered_is_no_password_and_bounded(
    checks: PasswordChecks, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(password_checks, "MAX_REMEMBERED", 2)
    for number in range(4):
        password = b"secret%d" % number
        checks.verify(cheap_hash(password), password, "u", lambda good: None)
        loop.run()
    assert len(checks._good) == 2
    assert all(len(key) == 32 and b"secret" not in key for key in checks._good)


def test_who_tries_many_at_once_is_refused_and_others_are_not(checks: PasswordChecks, loop: Loop) -> None:
    mine: list[bool] = []
    others: list[bool] = []
    known = cheap_hash(b"secret")
    for number in range(MAX_GUESSES + 5):
        checks.verify(known, b"guess %d" % number, "guesser", mine.append)
    assert mine == [False] * 5, "those beyond the limit are refused unseen"
    checks.verify(known, b"secret", "guesser", mine.append)
    assert mine == [False] * 6, "even if one of them is right"
    checks.verify(known, b"secret", "another", others.append)
    loop.run(MAX_GUESSES + 1)
    assert others == [True]
    assert mine == [False] * (MAX_GUESSES + 6)
    checks.verify(known, b"secret", "guesser", mine.append)
    assert mine[-1]
    assert not checks._guesses


def test_too_many_at_once_are_refused(
    checks: PasswordChecks, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(password_checks, "MAX_WAITING", 3)
    answers: list[bool] = []
    for number in range(4):
        checks.verify(cheap_hash(b"secret"), b"guess", f"u{number}", answers.append)
        checks.verify(cheap_hash(b"secret", b"salt %d..." % number), b"x", f"u{number}", answers.append)
    assert answers, "more than three different ones wait"
    loop.run(3)


def test_a_hash_that_fails_lets_nobody_in(checks: PasswordChecks, loop: Loop) -> None:
    answers: list[bool] = []
    impossible = PasswordHash(ARGON2ID, b"", b"", Cost(0, 0, 0))
    checks.verify(impossible, b"secret", "u", answers.append)
    loop.run()
    assert answers == [False]


def test_after_the_stop_nobody_is_answered(checks: PasswordChecks, loop: Loop) -> None:
    answers: list[bool] = []
    known = cheap_hash(b"secret")
    checks.verify(known, b"secret", "u", answers.append)
    checks.stop()
    while not loop.idle:
        loop.run()
    assert answers == []
    checks.stop()


def test_a_closed_loop_is_no_error() -> None:
    def closed(callback: Callable[[], None]) -> None:
        raise RuntimeError("Event loop is closed")

    checks = PasswordChecks()
    checks.begin(closed)
    checks.verify(cheap_hash(b"secret"), b"secret", "u", lambda good: None)
    checks.stop()
