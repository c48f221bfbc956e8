"""A work coordinator for crawlers: hands items out in batches over RabbitMQ, takes them back on command."""
