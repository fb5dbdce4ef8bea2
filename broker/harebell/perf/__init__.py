"""A load generator for any AMQP 0-9-1 broker: ``harebell perf``.

It is a client and knows nothing of the broker in this package. What runs per message is in
``inbound``, ``confirm_window`` and ``histogram`` (compiled) and in ``messages`` (bulk byte joins).
"""
