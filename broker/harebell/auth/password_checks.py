"""Verifying passwords without holding anybody up: on threads where it takes long, and each pair once.

A thousand clients that reconnect with one password cost one hash: what was verified is remembered under a key
made with a secret of this process, so that nothing in memory tells a password.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hashlib import sha256
from hmac import digest as hmac_digest
from typing import Final

from harebell.auth.passwords import PasswordHash

THREADS: Final = 2
"""Verifications at once: each holds 19 MiB and a core."""

MAX_WAITING: Final = 1024
"""Verifications begun and not ended; more are refused, since their clients would not wait so long."""

MAX_GUESSES: Final = 8
"""Different passwords for one user from one address that are verified at once; more are refused unseen, for
whoever tries many in parallel would not notice that attempts are slowed down."""

MAX_REMEMBERED: Final = 4096
"""Good passwords remembered."""

Post = Callable[[Callable[[], None]], None]
"""Has something called on the event loop's thread; called from any thread."""

Answer = Callable[[bool], None]


class PasswordChecks:
    """Verifies passwords; used by the event loop's thread only.

    Attributes:
        hashed: verifications that were made on a thread.
    """

    def __init__(self) -> None:
        self.hashed = 0
        self._secret = secrets.token_bytes(32)
        self._good: dict[bytes, None] = {}
        self._waiting: dict[bytes, list[Answer]] = {}
        self._guesses: dict[bytes, int] = {}
        self._post: Post | None = None
        self._threads: ThreadPoolExecutor | None = None

    def begin(self, post: Post) -> None:
        """From now on, verify on threads what takes long, and hand answers back through ``post``."""
        self._post = post

    def stop(self) -> None:
        """Drop what has not begun; who waits is not answered any more."""
        self._post = None
        self._waiting.clear()
        self._guesses.clear()
        threads, self._threads = self._threads, None
        if threads is not None:
            threads.shutdown(wait=True, cancel_futures=True)

    def verify(self, known: PasswordHash, password: bytes, source: str, done: Answer) -> None:
        """Call ``done`` with whether a password has a hash: at once, or later from the event loop.

        Args:
            known: the hash.
            password: as octets.
            source: who asks: user and address.
            done: takes the answer.
        """
        if not known.slow:
            done(known.verify(password))
            return
        key = self._key(known, password)
        if key in self._good:
            done(True)
            return
        post = self._post
        if post is None:
            self._answer(key, known.verify(password), [done])
            return
        waiting = self._waiting.get(key)
        if waiting is not None:
            waiting.append(done)
            return
        guesser = sha256(source.encode("utf-8", "surrogatepass")).digest()
        guesses = self._guesses.get(guesser, 0)
        if len(self._waiting) >= MAX_WAITING or guesses >= MAX_GUESSES:
            done(False)
            return
        self._waiting[key] = [done]
        self._guesses[guesser] = guesses + 1
        if self._threads is None:
            self._threads = ThreadPoolExecutor(THREADS, "passwords")
        self._threads.submit(self._hash, key, guesser, known, password, post)

    def _hash(self, key: bytes, guesser: bytes, known: PasswordHash, password: bytes, post: Post) -> None:
        """Verify a password; runs on a thread."""
        try:
            good = known.verify(password)
        except Exception:
            # Whatever went wrong (no memory), nobody gets in by it.
            good = False
        # The loop may be closed by now: then nobody waits any more.
        with suppress(RuntimeError):
            post(lambda: self._hashed(key, guesser, good))

    def _hashed(self, key: bytes, guesser: bytes, good: bool) -> None:
        left = self._guesses.pop(guesser, 0) - 1
        if left > 0:
            self._guesses[guesser] = left
        self._answer(key, good, self._waiting.pop(key, []))

    def _answer(self, key: bytes, good: bool, waiting: list[Answer]) -> None:
        self.hashed += 1
        if good:
            while len(self._good) >= MAX_REMEMBERED:
                del self._good[next(iter(self._good))]
            self._good[key] = None
        for done in waiting:
            done(good)

    def _key(self, known: PasswordHash, password: bytes) -> bytes:
        # The hash is in it: a changed password, or user, has another key.
        text = sha256(known.encode().encode()).digest() + password
        return hmac_digest(self._secret, text, "sha256")
