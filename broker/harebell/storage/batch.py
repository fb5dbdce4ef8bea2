"""What passes between the journal and its committer."""

from __future__ import annotations

from typing import NamedTuple


class Batch(NamedTuple):
    """Records to write at once.

    Attributes:
        data: the records.
        lsn: the lsn behind them.
        sync: whether somebody waits for them to be durable.
        next_base: base of a new segment to open afterwards; -1 for none.
        synced_head: what their first octets are instead if all before them is on stable storage.
    """

    data: bytes
    lsn: int
    sync: bool
    next_base: int
    synced_head: bytes = b""
