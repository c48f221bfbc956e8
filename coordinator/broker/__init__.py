"""RabbitMQ: connections, channels, queues, and its management API."""

from coordinator.broker.pamqp_patches import install

install()
