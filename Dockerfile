# docker build -t harebell .
# docker run --rm -p 5672:5672 harebell
#
# The same environment variables and mounts as the RabbitMQ image: RABBITMQ_DEFAULT_USER, RABBITMQ_DEFAULT_PASS,
# RABBITMQ_DEFAULT_VHOST, RABBITMQ_NODE_PORT, /etc/rabbitmq/rabbitmq.conf; and HAREBELL_<SECTION>__<KEY>,
# /etc/harebell/harebell.toml. Data is in the volume /var/lib/harebell.

ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS build

# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /src
COPY pyproject.toml setup.py LICENSE README.md ./
COPY broker ./broker
RUN HAREBELL_REQUIRE_COMPILED=1 pip wheel --no-cache-dir --no-deps --wheel-dir /wheels . \
    && python -m venv /opt/harebell \
    && /opt/harebell/bin/pip install --no-cache-dir /wheels/*.whl \
    && /opt/harebell/bin/pip uninstall --yes pip \
    && /opt/harebell/bin/python -m compileall -q /opt/harebell/lib

FROM python:${PYTHON}-slim

LABEL org.opencontainers.image.title="harebell" \
      org.opencontainers.image.description="A fast message broker for AMQP 0-9-1 that stock RabbitMQ clients use unchanged" \
      org.opencontainers.image.licenses="Apache-2.0"

RUN groupadd --gid 999 harebell \
    && useradd --uid 999 --gid 999 --home-dir /var/lib/harebell --no-create-home --shell /usr/sbin/nologin harebell \
    && install --directory --owner=harebell --group=harebell --mode=0750 /var/lib/harebell

COPY --from=build /opt/harebell /opt/harebell
COPY config/harebell.toml /usr/share/harebell/harebell.toml
COPY config/docker/defaults.toml /usr/share/harebell/defaults.toml
COPY --chmod=755 \
    config/docker/rabbitmqctl \
    config/docker/rabbitmqadmin \
    config/docker/rabbitmq-diagnostics \
    config/docker/rabbitmq-plugins \
    config/docker/rabbitmq-queues \
    config/docker/rabbitmq-server \
    config/docker/rabbitmq-streams \
    config/docker/rabbitmq-upgrade \
    /usr/local/bin/

ENV PATH="/opt/harebell/bin:${PATH}" \
    HAREBELL_DEFAULTS="/usr/share/harebell/defaults.toml" \
    PYTHONDONTWRITEBYTECODE="1"

USER 999:999
WORKDIR /var/lib/harebell
VOLUME /var/lib/harebell

# AMQPS and AMQP, management over TLS and plain, metrics; what this version does not serve yet is not listened on.
EXPOSE 5671 5672 15671 15672 15692

HEALTHCHECK --interval=10s --timeout=6s --start-period=10s --start-interval=1s --retries=3 \
    CMD ["harebell", "healthcheck", "--quiet"]

STOPSIGNAL SIGTERM
CMD ["harebell", "serve"]
