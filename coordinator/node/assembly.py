"""The parts of a running coordinator, and how each is told of those it works with."""

from __future__ import annotations

from dataclasses import dataclass, field

from coordinator.broker.channel import Channel
from coordinator.broker.connection import Connection
from coordinator.broker.management import Management
from coordinator.broker.taker import Taker
from coordinator.domain.history import Ring
from coordinator.domain.quarantine import Quarantine
from coordinator.domain.returns import Memory
from coordinator.domain.tally import Tally
from coordinator.node.available import Available
from coordinator.node.callbacks import Callbacks
from coordinator.node.commands import Commands
from coordinator.node.dead import DeadLetters
from coordinator.node.dispatcher import Dispatcher
from coordinator.node.events import Events
from coordinator.node.figures import Figures
from coordinator.node.holdings import Holdings
from coordinator.node.leases import Leases
from coordinator.node.overview import Overview
from coordinator.node.peers import Peers
from coordinator.node.presence import Roster
from coordinator.node.progress import Progress
from coordinator.node.pulse import Pulse
from coordinator.node.recall import Recall
from coordinator.node.registry import Registry
from coordinator.node.seeds import Seeds
from coordinator.node.suspects import Suspects
from coordinator.node.sweep import Sweeper
from coordinator.node.work import Work
from coordinator.node.workers import Workers
from coordinator.settings import Settings


@dataclass(frozen=True, slots=True)
class Session:
    """The parts of a running coordinator."""

    instance: str
    registry: Registry
    work: Work
    available: Available
    seeds: Seeds
    dead: DeadLetters
    dispatcher: Dispatcher
    leases: Leases
    roster: Roster
    peers: Peers
    suspects: Suspects
    figures: Figures
    holdings: Holdings
    pulse: Pulse
    progress: Progress
    events: Events
    overview: Overview
    workers: Workers
    callbacks: Callbacks
    commands: Commands
    publishing: Channel
    writer: Connection
    reader: Connection


@dataclass(frozen=True, slots=True)
class Lasting:
    """What a coordinator knows and counts in one session after the other.

    Attributes:
        ring: what happened.
        tally: what was done, in figures.
        dealt: publications that came back.
        quarantine: queues that are left alone for what they did to earlier sessions.
    """

    ring: Ring
    tally: Tally = field(default_factory=Tally)
    dealt: Memory = field(default_factory=Memory)
    quarantine: Quarantine = field(default_factory=Quarantine)


@dataclass(frozen=True, slots=True)
class Links:
    """The connections and channels of a session; an alarm of the broker blocks the publishing connection alone."""

    reader: Connection
    writer: Connection
    taker: Taker
    publishing: Channel
    management: Management


async def assemble(settings: Settings, instance: str, links: Links, registry: Registry, lasting: Lasting) -> Session:
    """The parts of a session, none of them at work yet."""
    reader, publishing, tally = links.reader, links.publishing, lasting.tally
    # What is said to the others never waits behind a queue that hangs the broker's side of a channel.
    peers = Peers(instance, await links.writer.channel(), links.management)
    events = Events(ring=lasting.ring, registry=registry, peers=peers)
    work = Work(
        connection=links.writer,
        publishing=publishing,
        registry=registry,
        peers=peers,
        events=events,
        most=settings.window,
        tally=tally,
        quarantine=lasting.quarantine,
    )
    available = Available(await links.writer.channel(), links.writer.user)
    dead = DeadLetters(reader, publishing, available, tally)
    seeds = Seeds(reader, publishing, registry, available.pages, peers)
    dispatcher = Dispatcher(
        connection=reader,
        registry=registry,
        work=work,
        available=available,
        dead=dead,
        peers=peers,
        events=events,
        trusted=trusted(settings, links),
        linger=settings.linger,
    )
    leases = Leases(
        taker=links.taker,
        registry=registry,
        work=work,
        available=available,
        peers=peers,
        events=events,
        timeout=settings.ack_timeout,
    )
    suspects = Suspects(
        registry=registry,
        work=work,
        available=available,
        dead=dead,
        publishing=publishing,
        management=links.management,
        peers=peers,
        patience=settings.last_offer_patience,
        broker_tick=settings.broker_tick,
    )
    roster = Roster(
        registry=registry,
        publishing=publishing,
        dead=dead,
        peers=peers,
        events=events,
        timeout=settings.worker_timeout,
        tally=tally,
    )
    events.in_hand_by(roster.held)
    pulse = Pulse(work)
    figures = Figures(
        registry=registry,
        seeds=seeds,
        dispatcher=dispatcher,
        work=work,
        leases=leases,
        suspects=suspects,
        roster=roster,
        pulse=pulse,
        peers=peers,
        management=links.management,
    )
    holdings = Holdings(work=work, leases=leases, roster=roster, peers=peers)
    overview = Overview(
        registry=registry,
        dispatcher=dispatcher,
        figures=figures,
        peers=peers,
        pulse=pulse,
        reader=reader,
        writer=links.writer,
        management=links.management,
    )
    callbacks = Callbacks(registry, settings.callback_hosts, settings.ca_file)
    workers = Workers(
        registry=registry,
        management=links.management,
        leases=leases,
        roster=roster,
        peers=peers,
        holdings=holdings,
        callbacks=callbacks,
        publishing=publishing,
        settings=settings,
    )
    recall = Recall(
        registry=registry,
        seeds=seeds,
        dispatcher=dispatcher,
        work=work,
        sweeper=Sweeper(links.taker, registry, work, available, events),
        leases=leases,
        suspects=suspects,
        peers=peers,
    )
    commands = Commands(
        registry=registry,
        seeds=seeds,
        recall=recall,
        figures=figures,
        roster=roster,
        workers=workers,
        callbacks=callbacks,
        publishing=publishing,
        tally=tally,
    )
    return Session(
        instance=instance,
        registry=registry,
        work=work,
        available=available,
        seeds=seeds,
        dead=dead,
        dispatcher=dispatcher,
        leases=leases,
        roster=roster,
        peers=peers,
        suspects=suspects,
        figures=figures,
        holdings=holdings,
        pulse=pulse,
        progress=Progress(
            registry=registry,
            dispatcher=dispatcher,
            available=available,
            work=work,
            figures=figures,
            events=events,
        ),
        events=events,
        overview=overview,
        workers=workers,
        callbacks=callbacks,
        commands=commands,
        publishing=publishing,
        writer=links.writer,
        reader=links.reader,
    )


def trusted(settings: Settings, links: Links) -> frozenset[str]:
    """The broker users whose checked pages are relayed unread."""
    return frozenset({links.writer.user, *filter(None, settings.trusted_producers.split(","))})
