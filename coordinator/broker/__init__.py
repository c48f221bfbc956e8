"""RabbitMQ: connections, channels, queues, and its management API."""
