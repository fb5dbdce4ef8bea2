"""pika, blocking and event-driven."""
