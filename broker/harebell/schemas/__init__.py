"""The formats of schemas: JSON Schema, Avro and Protobuf, each by a library that is loaded when needed."""

from __future__ import annotations

from harebell.schemas.formats import Formats

__all__ = ["Formats"]
