"""A schema for the tests of schemas: registered over HTTP, which RabbitMQ does not have."""

from __future__ import annotations

import base64
import json
from typing import Final
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

from interop_tests.broker_under_test import BrokerUnderTest

SCHEMA: Final = {"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]}
GOOD: Final = b'{"id": 1}'
BAD: Final = b'{"id": "one"}'


def register_schema(broker: BrokerUnderTest, subject: str) -> str:
    """Register the schema under a name, and return it; where there are no schemas nothing happens."""
    path = f"/api/x/schemas/{quote(broker.virtual_host, safe='')}/{quote(subject, safe='')}/versions"
    login = base64.b64encode(f"{broker.user}:{broker.password}".encode()).decode()
    headers = {"Authorization": f"Basic {login}", "Content-Type": "application/json"}
    body = json.dumps({"schema": SCHEMA}).encode()
    request = Request(broker.management_url + path, body, headers, method="POST")
    try:
        with urlopen(request, timeout=10) as answer:
            answer.read()
    except HTTPError as error:
        if error.code not in (404, 405):
            raise
    return subject
