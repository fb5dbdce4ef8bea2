"""kombu, and Celery with real worker processes."""
