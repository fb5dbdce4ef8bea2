"""Connections that have not logged in are counted, all together and by address."""

from __future__ import annotations

from harebell.server.admission import Admission, Origin


def origin(host: str) -> Origin:
    return Origin(host, f"{host}:1 -> 127.0.0.1:5672", 0)


def test_all_together_there_may_be_so_many() -> None:
    admission = Admission(2, 0)
    first, second, third = origin("192.0.2.1"), origin("192.0.2.2"), origin("192.0.2.3")
    assert admission.enter(first) and admission.enter(second)
    assert not admission.enter(third)
    admission.leave(third)
    assert admission.waiting == 2
    admission.leave(first)
    assert admission.enter(third)


def test_one_address_cannot_take_the_places_of_all() -> None:
    admission = Admission(0, 2)
    mine = [origin("192.0.2.1") for _ in range(3)]
    assert [admission.enter(each) for each in mine] == [True, True, False]
    assert admission.enter(origin("192.0.2.2"))
    admission.leave(mine[0])
    assert admission.enter(mine[2])


def test_leaving_twice_counts_once() -> None:
    admission = Admission(0, 0)
    first, second = origin("192.0.2.1"), origin("192.0.2.1")
    assert admission.enter(first) and admission.enter(second)
    admission.leave(first)
    admission.leave(first)
    assert admission.waiting == 1
    admission.leave(second)
    assert admission.waiting == 0


def test_without_limits_everybody_may_come() -> None:
    admission = Admission(0, 0)
    assert all(admission.enter(origin("192.0.2.1")) for _ in range(10_000))
