"""What a private node says about itself."""

from __future__ import annotations

from coordinator.local_rabbitmq.node import BrokerUrls


def test_urls_show_no_password() -> None:
    """A password in a URL is never printed."""
    urls = BrokerUrls(amqp="amqp://me:secret@127.0.0.1:1/%2F", management="http://me:secret@127.0.0.1:2")
    assert repr(urls) == "BrokerUrls(amqp='amqp://me:***@127.0.0.1:1/%2F', management='http://me:***@127.0.0.1:2')"
