"""Stock clients of RabbitMQ, run unchanged against any AMQP 0-9-1 broker."""
