"""What other programs import: producers, managers and workers, over AMQP and over HTTP."""

from coordinator.client.http import HttpClient
from coordinator.client.http_manager import HttpManager
from coordinator.client.http_worker import HttpProducer, HttpWorker
from coordinator.client.manager import Manager, Reply
from coordinator.client.producer import Producer
from coordinator.client.reader import Reader

__all__ = ["HttpClient", "HttpManager", "HttpProducer", "HttpWorker", "Manager", "Producer", "Reader", "Reply"]
