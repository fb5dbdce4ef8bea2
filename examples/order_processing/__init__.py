"""A day of a shop that brings food: work queues, a stream, dead letters and idempotent consumers."""
