"""What a load balancer sends before the octets of its client."""

from __future__ import annotations

import socket
import struct
from typing import Final

SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
LOCAL: Final = SIGNATURE + b"\x20\x00\x00\x00"
"""A load balancer that looks whether the broker is there."""


def version_1(source: str, source_port: int, destination: str, destination_port: int) -> bytes:
    """Write a header as text."""
    family = "TCP6" if ":" in source else "TCP4"
    return f"PROXY {family} {source} {destination} {source_port} {destination_port}\r\n".encode()


def version_2(
    source: str, source_port: int, destination: str, destination_port: int, tlvs: bytes = b""
) -> bytes:
    """Write a header in octets."""
    code, family = (0x21, socket.AF_INET6) if ":" in source else (0x11, socket.AF_INET)
    body = socket.inet_pton(family, source) + socket.inet_pton(family, destination)
    body += struct.pack(">HH", source_port, destination_port) + tlvs
    return SIGNATURE + struct.pack(">BBH", 0x21, code, len(body)) + body
