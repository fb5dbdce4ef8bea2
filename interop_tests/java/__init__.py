"""The RabbitMQ Java client."""
