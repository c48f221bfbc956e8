"""What other programs import: producers and managers."""

from coordinator.client.manager import Manager, Reply
from coordinator.client.producer import Producer
from coordinator.client.reader import Reader

__all__ = ["Manager", "Producer", "Reader", "Reply"]
