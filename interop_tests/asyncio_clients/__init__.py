"""aio-pika and aiormq."""
