"""`coordinator broker`: a private RabbitMQ in the foreground."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from coordinator.cli.common import examples
from coordinator.cli.signals import run_until_signalled
from coordinator.errors import PrivateBrokerError
from coordinator.local_rabbitmq.broker import PrivateBroker
from coordinator.local_rabbitmq.cluster import PrivateCluster

app = typer.Typer()


@app.command(
    epilog=examples(
        "coordinator broker",
        "coordinator broker --folder ~/rabbit --amqp-port 5672",
        "coordinator broker --nodes 3",
    )
)
def broker(
    *,
    folder: Annotated[
        Path | None,
        typer.Option(help="Folder for the broker's data. Without it, the data are deleted at the end."),
    ] = None,
    nodes: Annotated[int, typer.Option(min=1, max=7, help="With more than one, run a cluster on this machine.")] = 1,
    amqp_port: Annotated[
        int, typer.Option(min=0, max=65535, help="0 picks a free port. Further nodes use the next ports.")
    ] = 0,
    management_port: Annotated[
        int, typer.Option(min=0, max=65535, help="0 picks a free port. Further nodes use the next ports.")
    ] = 0,
) -> None:
    """Run a private RabbitMQ from the installed server, and print its URLs with their passwords.

    Put the first line into COORDINATOR_AMQP_URL and the second into COORDINATOR_MANAGEMENT_URL.
    """
    private: PrivateBroker | PrivateCluster
    if nodes == 1:
        private = PrivateBroker(folder, amqp_port=amqp_port, management_port=management_port)
    else:
        private = PrivateCluster(folder, nodes=nodes, amqp_port=amqp_port, management_port=management_port)
    asyncio.run(run_until_signalled(_run(private)))


async def _run(private: PrivateBroker | PrivateCluster) -> None:
    async with private:
        typer.echo(f"{private.urls.amqp}\n{private.urls.management}")
        await ended(private)


async def ended(private: PrivateBroker | PrivateCluster) -> None:
    """Wait until a private broker ends.

    Raises:
        PrivateBrokerError: always, at that moment.
    """
    await private.wait()
    raise PrivateBrokerError(f"the private broker ended by itself; its logs are in {private.folder}")
