"""Measurements that compare harebell with RabbitMQ; see README.md."""
