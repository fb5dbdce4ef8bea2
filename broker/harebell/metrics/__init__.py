"""Metrics of the broker in Prometheus' text format, under RabbitMQ's names and some of its own."""
