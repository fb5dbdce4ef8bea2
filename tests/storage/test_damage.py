"""Losses are remembered until somebody acknowledges them."""

from __future__ import annotations

import pytest

from harebell.storage.damage import (
    ACKNOWLEDGED,
    LIST,
    MOST,
    Lost,
    acknowledge,
    read_all_damage,
    read_damage,
    remember,
    tidy,
)
from tests.storage.fake_disk import FakeDisk

HIT = Lost("a.wal", 100, 20, "damaged", "a.wal.100.damaged")
HOLE = Lost("a.wal", 500, 64, "64 octets are missing")
UNDECLARED = Lost("", 0, 0, "3 messages of queue number 7 whose declaration is lost")


@pytest.fixture
def disk() -> FakeDisk:
    return FakeDisk()


def test_nothing_is_lost_in_an_empty_folder(disk: FakeDisk) -> None:
    assert (read_damage(disk), acknowledge(disk), disk.names()) == ([], [], [])


def test_losses_are_listed_until_they_are_acknowledged(disk: FakeDisk) -> None:
    new = remember(disk, [HIT, HOLE, UNDECLARED])
    assert [lost.number for lost in new] == [1, 2, 3]
    assert all(len(lost.time) == len("2026-01-01T00:00:00Z") for lost in new)
    assert read_damage(disk) == new
    assert acknowledge(disk) == new
    assert (read_damage(disk), acknowledge(disk)) == ([], [])
    assert read_all_damage(disk) == new


def test_both_files_are_durable_at_once(disk: FakeDisk) -> None:
    remember(disk, [HIT])
    assert LIST in disk.durable
    acknowledge(disk)
    assert ACKNOWLEDGED in disk.durable


def test_the_same_loss_is_listed_once(disk: FakeDisk) -> None:
    remember(disk, [HIT, HOLE, HIT])
    assert remember(disk, [HOLE, HIT, UNDECLARED]) == read_damage(disk)[2:]
    assert len(read_damage(disk)) == 3


def test_a_hole_is_no_news_once_it_was_acknowledged_but_new_damage_is(disk: FakeDisk) -> None:
    remember(disk, [HIT, HOLE, UNDECLARED])
    acknowledge(disk)
    (again,) = remember(disk, [HIT, HOLE, UNDECLARED])
    assert (again.file, again.offset, again.number) == (HIT.file, HIT.offset, 4)


def test_what_is_found_after_an_acknowledgement_is_not_covered_by_it(disk: FakeDisk) -> None:
    remember(disk, [HIT])
    acknowledge(disk)
    remember(disk, [HOLE])
    assert [lost.offset for lost in read_damage(disk)] == [HOLE.offset]


def test_the_list_stays_bounded(disk: FakeDisk) -> None:
    remember(disk, [Lost("a.wal", n, 1, "damaged", "kept") for n in range(MOST + 30)])
    found = read_damage(disk)
    assert (len(found), found[-1].what) == (MOST + 1, "and 30 more")
    acknowledge(disk)
    assert read_damage(disk) == []
    tidy(disk)
    assert read_all_damage(disk) == []


def test_an_acknowledged_loss_is_forgotten_with_what_it_explains(disk: FakeDisk) -> None:
    disk.put("a.wal", b"")
    disk.put(HIT.kept_as, b"kept")
    remember(disk, [HIT, HOLE])
    acknowledge(disk)
    tidy(disk)
    assert len(read_all_damage(disk)) == 2
    disk.remove(HIT.kept_as)
    tidy(disk)
    assert [lost.offset for lost in read_all_damage(disk)] == [HOLE.offset]
    disk.remove("a.wal")
    tidy(disk)
    assert read_all_damage(disk) == []
    assert remember(disk, [HIT])[0].number == 3, "a number is never given twice"


def test_nothing_is_forgotten_that_was_not_acknowledged(disk: FakeDisk) -> None:
    remember(disk, [HIT, HOLE, UNDECLARED])
    tidy(disk)
    assert len(read_damage(disk)) == 3


@pytest.mark.parametrize(
    "octets", [b"", b"{", b"[]", b'{"next": 1}', b'{"next": "x", "more": 0, "losses": []}', b"\xff"]
)
def test_a_damaged_list_is_a_loss_itself_and_keeps_nothing_from_working(
    disk: FakeDisk, octets: bytes
) -> None:
    disk.put(LIST, octets)
    (lost,) = read_damage(disk)
    assert "could not be read" in str(lost)
    remember(disk, [HIT])
    assert len(read_damage(disk)) == 2
    acknowledge(disk)
    assert read_damage(disk) == []
    disk.put(ACKNOWLEDGED, octets)
    assert len(read_damage(disk)) == 2


def test_a_loss_says_where_it_is_and_what_it_means() -> None:
    assert str(HIT) == "a.wal: 20 octets at offset 100: damaged, kept as a.wal.100.damaged"
    assert str(UNDECLARED) == "3 messages of queue number 7 whose declaration is lost"
