"""A work coordinator for crawlers: it hands items out in batches over RabbitMQ, and takes them back on command."""
