"""Certificates are loaded anew when their files change, and their end is announced."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from harebell.server.certificate_watch import CertificateWatch
from harebell.settings import Tls
from harebell.tls import Certificates
from tests.support.certificates import Authority


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def test_a_file_that_changes_is_taken_up_and_a_bad_one_is_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    authority = Authority(tmp_path)
    path = authority.server(days=20)
    certificates = Certificates(Tls(certificate=path))
    watch = CertificateWatch(look_seconds=0.01)
    watch.add("amqp/ssl", certificates)
    watch.start()
    first = certificates.context
    path.write_text("half of it")
    await until(lambda: "cannot be used, the old ones stay" in caplog.text)
    assert certificates.context is first
    authority.server(days=200)
    await until(lambda: certificates.context is not first)
    assert watch.ends("amqp/ssl") == certificates.expires_at
    assert watch.ends("https") is None
    assert caplog.text.count("cannot be used") == 1, "what failed is not tried again before it changes"
    watch.stop()
    watch.stop()


async def test_without_tls_there_is_nothing_to_watch() -> None:
    watch = CertificateWatch()
    watch.add("https", None)
    watch.start()
    assert await watch.reload()
    watch.stop()


@pytest.mark.parametrize(("days", "words"), [(10, "ends in 10 days"), (-1, "has ended")])
async def test_the_end_of_a_certificate_is_announced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, days: int, words: str
) -> None:
    watch = CertificateWatch(look_seconds=0.01)
    watch.add("amqp/ssl", Certificates(Tls(certificate=Authority(tmp_path).server(days=days))))
    with caplog.at_level(logging.WARNING):
        watch.start()
        await until(lambda: f"the certificate for amqp/ssl {words}" in caplog.text)
        await asyncio.sleep(0.05)
    watch.stop()
    assert caplog.text.count(words) == 1, "once a day"
