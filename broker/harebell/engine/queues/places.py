"""Finding messages by position where they lie in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

from mypy_extensions import i64

from harebell.content.message import Message
from harebell.engine.queues.stock import Entry
from harebell.paging import PAGE_MESSAGES, PAGE_OCTETS, Moved, Page, Place

GONE: Final = Message(b"", b"", b"", False)
"""Stands where a message was."""

BROWSED_OCTETS: Final = 1 << 20
"""Octets of messages after which no more are looked up for one who only looks."""


def octets_of(entries: Iterable[Entry]) -> i64:
    """Add up header and body octets."""
    octets: i64 = 0
    for _, message, _ in entries:
        octets += len(message.header) + len(message.body)
    return octets


def present(entries: Iterable[Entry]) -> list[Entry]:
    """Leave out the places of what is gone."""
    return [entry for entry in entries if entry[1] is not GONE]


def first_entry(entries: deque[Entry], position: i64) -> i64:
    """Find the first of the entries that is not before a position."""
    low: i64 = 0
    high: i64 = len(entries)
    while low < high:
        middle: i64 = (low + high) // 2
        if entries[middle][0] < position:
            low = middle + 1
        else:
            high = middle
    return low


def first_position(positions: deque[int], position: i64) -> i64:
    """Find the first of the positions that is not before a position."""
    low: i64 = 0
    high: i64 = len(positions)
    while low < high:
        middle: i64 = (low + high) // 2
        if positions[middle] < position:
            low = middle + 1
        else:
            high = middle
    return low


def place_of(entries: deque[Entry], position: i64) -> i64:
    """Find a position among entries; -1 if it is not there."""
    at = first_entry(entries, position)
    return at if at < len(entries) and entries[at][0] == position else -1


def place_among(positions: deque[int], position: i64) -> i64:
    """Find a position among positions; -1 if it is not there."""
    at = first_position(positions, position)
    return at if at < len(positions) and positions[at] == position else -1


def position_of(entry: Entry) -> int:
    """Give the position of an entry, to sort by: messages cannot be compared."""
    return entry[0]


def merged(parts: list[list[Entry]], most: i64) -> list[Entry]:
    """Put together what was looked up in several places from one position on, by position.

    What is large ends before there are ``most``, so it is not known what a place has behind the last message
    of it that was given: the others are cut there, too.
    """
    horizon: i64 = 1 << 62
    found: list[Entry] = []
    for part in parts:
        if part and part[-1][0] < horizon and octets_of(part) >= BROWSED_OCTETS:
            horizon = part[-1][0]
        found.extend(part)
    found.sort(key=position_of)
    while found and found[-1][0] > horizon:
        found.pop()
    return found[:most] if len(found) > most else found


def places_in_page(page: Page, wanted: list[int], gone: dict[int, tuple[int, int]]) -> list[int]:
    """Find positions in a page, but for those that are gone from it; give their places."""
    places: list[int] = []
    for position in wanted:
        index = page.index(position)
        if index >= 0 and position not in gone:
            places.append(index)
    return places


def pop_page(entries: list[Entry], kept: i64) -> list[Entry]:
    """Take a page's worth from the end of entries, but leave so many."""
    page: list[Entry] = []
    octets: i64 = 0
    while len(page) < PAGE_MESSAGES and octets < PAGE_OCTETS and len(entries) > kept:
        entry = entries.pop()
        octets += len(entry[1].header) + len(entry[1].body)
        page.append(entry)
    page.reverse()
    return page


def locate_returned(returned: list[Entry], wanted: list[int], found: list[tuple[int, Place]]) -> None:
    """Find positions, ascending, in a heap of entries; afterwards it is sorted, so still a heap."""
    returned.sort()
    low: i64 = 0
    for position in wanted:
        high: i64 = len(returned)
        while low < high:
            middle: i64 = (low + high) // 2
            if returned[middle][0] < position:
                low = middle + 1
            else:
                high = middle
        if low < len(returned) and returned[low][0] == position:
            entry = returned[low]
            found.append((position, Place(entry[1], entry[1].location, entry[2])))


def locate_among(entries: Iterable[Entry], positions: set[int], found: list[tuple[int, Place]]) -> None:
    """Find messages among entries in any order; what is gone is passed over."""
    for position, message, returns in entries:
        if position in positions and message is not GONE:
            found.append((position, Place(message, message.location, returns)))


def locate_loaded(loaded: deque[Entry], wanted: list[int], found: list[tuple[int, Place]]) -> None:
    """Find positions among entries by ascending position; what is gone is passed over."""
    for position in wanted:
        at = place_of(loaded, position)
        if at >= 0 and loaded[at][1] is not GONE:
            entry = loaded[at]
            found.append((position, Place(entry[1], entry[1].location, entry[2])))


def all_gone(page: Page, gone: dict[int, tuple[int, int]]) -> bool:
    """Tell whether no message of a page is left."""
    for index in range(page.count):  # noqa: SIM110 - a generator costs more, compiled
        if page.position(index) not in gone:
            return False
    return True


def locate_in_pages(
    pages: Iterable[Page],
    gone: dict[int, tuple[int, int]],
    wanted: list[int],
    found: list[tuple[int, Place]],
) -> None:
    """Find messages in pages; arguments as for ``relocate_in_pages``, positions ascending."""
    at: i64 = 0
    count: i64 = len(wanted)
    for page in pages:
        while at < count and wanted[at] < page.first:
            at += 1
        if at == count:
            return
        while at < count and wanted[at] <= page.last:
            index = page.index(wanted[at])
            if index >= 0 and wanted[at] not in gone:
                found.append((wanted[at], Place(None, page.location(index), page.returned(index))))
            at += 1


def relocate_in_pages(
    pages: Iterable[Page], gone: dict[int, tuple[int, int]], moved: list[Moved], segment: int, to_segment: int
) -> list[int]:
    """Note that the records of paged messages were copied forward.

    Args:
        pages: in order of position.
        gone: positions that are in a page no longer.
        moved: by ascending position.
        segment, to_segment: numbers of the journal's segments.

    Returns:
        The positions that are in pages.
    """
    found: list[int] = []
    at: i64 = 0
    for page in pages:
        if at >= len(moved):
            break
        changes: list[tuple[int, int]] = []
        left: i64 = 0
        come: i64 = 0
        while at < len(moved) and moved[at].position <= page.last:
            index = page.index(moved[at].position)
            if index >= 0 and moved[at].position not in gone:
                changes.append((index, moved[at].location))
                left += moved[at].share
                come += moved[at].to_share
                found.append(moved[at].position)
            at += 1
        if changes:
            page.relocate(changes)
            page.claim(segment, -left)
            page.claim(to_segment, come)
    return found


def remove_loaded(loaded: deque[Entry], wanted: list[int], found: list[Entry]) -> i64:
    """Take positions, ascending, out of entries, leaving ``GONE``; give their octets."""
    freed: i64 = 0
    first: i64 = loaded[0][0]
    last: i64 = loaded[-1][0]
    for position in wanted:
        if position < first or position > last:
            continue
        at = place_of(loaded, position)
        if at >= 0 and loaded[at][1] is not GONE:
            entry = loaded[at]
            found.append(entry)
            loaded[at] = (position, GONE, 0)
            freed += len(entry[1].header) + len(entry[1].body)
    return freed


def remove_fresh(
    fresh: deque[Message], positions: deque[int] | None, head: i64, wanted: list[int], found: list[Entry]
) -> i64:
    """Take positions, ascending, out of messages that never came back, leaving ``GONE``; give their octets.

    Args:
        positions: of the messages; None if they are ``head``, ``head + 1`` and so on.
    """
    freed: i64 = 0
    for position in wanted:
        at: i64 = position - head
        if positions is not None:
            at = place_among(positions, position)
        if 0 <= at < len(fresh) and fresh[at] is not GONE:
            message = fresh[at]
            found.append((position, message, 0))
            fresh[at] = GONE
            freed += len(message.header) + len(message.body)
    return freed
