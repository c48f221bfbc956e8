"""What other programs import: producers, managers and workers, over AMQP and over HTTP."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from coordinator.client.http import HttpClient
    from coordinator.client.http_manager import HttpManager
    from coordinator.client.http_worker import HttpProducer, HttpWorker
    from coordinator.client.manager import Manager, Reply
    from coordinator.client.producer import Producer
    from coordinator.client.reader import Reader

__all__ = ["HttpClient", "HttpManager", "HttpProducer", "HttpWorker", "Manager", "Producer", "Reader", "Reply"]

_MODULES = {
    "HttpClient": "http",
    "HttpManager": "http_manager",
    "HttpProducer": "http_worker",
    "HttpWorker": "http_worker",
    "Manager": "manager",
    "Producer": "producer",
    "Reader": "reader",
    "Reply": "manager",
}


def __getattr__(name: str) -> object:
    """Import a client when it is first used: a program that speaks HTTP alone does not load the AMQP library."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
