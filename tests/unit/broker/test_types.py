"""What is published and delivered."""

from __future__ import annotations

from dataclasses import dataclass, field

from coordinator.broker.types import Delivery


@dataclass
class FakeSettler:
    """Records how deliveries are settled."""

    is_closed: bool = False
    settled: list[str] = field(default_factory=list)

    async def ack(self, tag: int) -> None:
        """Ack one."""
        self.settled.append(f"ack {tag}")

    def ack_soon(self, tag: int) -> None:
        """Ack one."""
        self.settled.append(f"ack {tag} soon")

    async def reject(self, tag: int, *, requeue: bool) -> None:
        """Reject one."""
        self.settled.append(f"{'requeue' if requeue else 'reject'} {tag}")


def delivery(settler: FakeSettler) -> Delivery:
    """A delivery with every field."""
    return Delivery(
        body=b"body",
        headers={"kept": 1, "changed": 1},
        message_id="id",
        user_id="producer",
        correlation_id="correlation",
        reply_to="replies",
        routing_key="work",
        redelivered=True,
        tag=7,
        channel=settler,
    )


async def test_a_delivery_is_settled_where_it_came() -> None:
    """By its own tag, on its own channel; a reject does not requeue by default."""
    settler = FakeSettler()
    one = delivery(settler)
    await one.ack()
    one.ack_soon()
    await one.reject()
    await one.reject(requeue=True)
    assert settler.settled == ["ack 7", "ack 7 soon", "reject 7", "requeue 7"]


def test_a_copy_can_be_published() -> None:
    """With other headers, and without the user: the broker accepts only the publisher's own."""
    copy = delivery(FakeSettler()).copy(changed=2)
    assert (copy.body, copy.message_id, copy.correlation_id) == (b"body", "id", "correlation")
    assert (copy.headers, copy.user_id) == ({"kept": 1, "changed": 2}, None)
