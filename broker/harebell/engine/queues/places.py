"""Finding messages by position where they lie in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

from mypy_extensions import i64

from harebell.content.message import Message
from harebell.engine.queues.stock import Entry
from harebell.paging import Moved, Page, Place

GONE: Final = Message(b"", b"", b"", False)
"""Stands where a message was."""


def present(entries: Iterable[Entry]) -> list[Entry]:
    """Leave out the places of what is gone."""
    return [entry for entry in entries if entry[1] is not GONE]


def place_of(entries: deque[Entry], position: i64) -> i64:
    """Find a position among entries; -1 if it is not there."""
    low: i64 = 0
    high: i64 = len(entries)
    while low < high:
        middle: i64 = (low + high) // 2
        if entries[middle][0] < position:
            low = middle + 1
        else:
            high = middle
    return low if low < len(entries) and entries[low][0] == position else -1


def place_among(positions: deque[int], position: i64) -> i64:
    """Find a position among positions; -1 if it is not there."""
    low: i64 = 0
    high: i64 = len(positions)
    while low < high:
        middle: i64 = (low + high) // 2
        if positions[middle] < position:
            low = middle + 1
        else:
            high = middle
    return low if low < len(positions) and positions[low] == position else -1


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
