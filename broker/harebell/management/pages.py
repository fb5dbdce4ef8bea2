"""The few pages for people: what this port is, and how to get the command line."""

from __future__ import annotations

from typing import Final

from harebell.management.answers import Answer
from harebell.management.errors import not_found

_PAGE: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>harebell</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:3rem auto;padding:0 1rem}}</style>
{body}
</html>
"""

_ROOT: Final = """<h1>harebell</h1>
<p>This is the HTTP API of a harebell message broker; it answers as RabbitMQ's management API does.</p>
<ul>
<li><a href="{prefix}/api/overview">/api/overview</a>: the state of the node</li>
<li><a href="{prefix}/api/openapi.json">/api/openapi.json</a>: every path, for tools</li>
<li><a href="{prefix}/cli">/cli</a>: the command line</li>
</ul>
"""

_CLI: Final = """<h1>The command line</h1>
<p>What <code>rabbitmqctl</code>, <code>rabbitmq-diagnostics</code> and <code>rabbitmqadmin</code> do, one
command does here, from any machine:</p>
<pre>pip install harebell
harebell --help</pre>
<p>RabbitMQ's own <code>rabbitmqadmin</code> works with this port, too.</p>
"""

_BODIES: Final = {"/": _ROOT, "/api": _ROOT, "/cli": _CLI, "/cli/index.html": _CLI, "/index.html": _ROOT}


def page(path: str, prefix: str, method: str) -> Answer:
    """Answer what is not below ``/api/``.

    Args:
        path: without the prefix.
        prefix: put before links.
        method: only ``GET`` and ``HEAD`` are allowed.

    Raises:
        HttpError: 404.
    """
    body = _BODIES.get(path.rstrip("/") or "/")
    if body is None:
        raise not_found()
    if method not in ("GET", "HEAD"):
        return Answer(405, headers={"Allow": "HEAD, GET"})
    text = _PAGE.format(body=body.format(prefix=prefix))
    return Answer(200, (text.encode(),), "text/html")
