"""harebell: a message broker for AMQP 0-9-1 that stock RabbitMQ clients use unchanged."""

__version__ = "0.1.0"

__all__ = ["__version__"]
