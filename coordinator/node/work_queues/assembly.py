"""Makes the parts that publish to the work queues."""

from __future__ import annotations

from coordinator.broker.channel import Channel
from coordinator.broker.connection import Connection
from coordinator.domain.counters import Counters
from coordinator.domain.ledger import Ledger
from coordinator.node.events import Events
from coordinator.node.registry import Registry
from coordinator.node.replicas.membership import Replicas
from coordinator.node.replicas.rpc import Rpc
from coordinator.node.seeds.seed_queue import SeedQueues
from coordinator.node.work_queues.depth import QueueDepths
from coordinator.node.work_queues.in_flight import InFlight
from coordinator.node.work_queues.peer_load import PeerLoads
from coordinator.node.work_queues.publisher import Publisher
from coordinator.node.work_queues.queue_channels import QueueChannels


def make_publisher(
    *,
    connection: Connection,
    publishing: Channel,
    registry: Registry,
    replicas: Replicas,
    rpc: Rpc,
    events: Events,
    seed_queues: SeedQueues,
    most: int,
    counters: Counters,
) -> Publisher:
    """The publisher, with the depth of the work queues, the count in flight and the ledger that belong to it."""
    channels = QueueChannels(connection=connection)
    in_flight, ledger, peer_loads = InFlight(), Ledger(counters), PeerLoads(replicas)
    depth = QueueDepths(
        connection=connection,
        publishing=publishing,
        channels=channels,
        in_flight=in_flight,
        ledger=ledger,
        peer_loads=peer_loads,
        most=most,
    )
    return Publisher(
        registry=registry,
        seed_queues=seed_queues,
        channels=channels,
        depth=depth,
        in_flight=in_flight,
        ledger=ledger,
        peer_loads=peer_loads,
        rpc=rpc,
        events=events,
        counters=counters,
    )
