"""``harebell ctl``: the names, arguments, output and exit codes of rabbitmqctl and its companions.

For scripts and container probes written for RabbitMQ; the commands of harebell itself are made for people.
Everything goes over the HTTP API, so that these work on a RabbitMQ with its management plugin, too.
"""
