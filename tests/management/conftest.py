"""A broker with the HTTP API on a free port."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.management import Api, management_api


@pytest.fixture
async def http() -> AsyncIterator[Api]:
    """Ask a broker of one's own."""
    async with management_api() as api:
        yield api
