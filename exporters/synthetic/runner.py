"""Runs the journeys: keeps the residents logged in, and starts each journey when its time has come."""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

from exporters.synthetic import names
from exporters.synthetic.config import INTERVALS, Settings, load
from exporters.synthetic.door import Door
from exporters.synthetic.journeys import Journeys
from exporters.synthetic.marks import Marks
from exporters.synthetic.pulse import Pulse
from exporters.synthetic.recorder import Recorder
from exporters.synthetic.residents import Foreign, Resident
from exporters.synthetic.snapshot import JourneyPlace
from exporters.synthetic.tally import Tally
from exporters.synthetic.turn_journeys import TurnJourneys
from toolkit.background import running
from toolkit.documents import ConfigError
from xmpp.transport import trusting

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path
    from xml.etree.ElementTree import Element

    from exporters.synthetic.snapshot import Snapshot

_log = logging.getLogger(__name__)
_SHORTEST = 0.8  # of the interval; so no pause is longer than what is configured, and no two journeys stay in step
_FIRST_TRY = 6.0  # seconds for the residents to log in before the first journey


def tls_of(settings: Settings) -> ssl.SSLContext:
    """Return the context that trusts who may answer. Raises ConfigError."""
    try:
        return trusting(settings.ca)
    except OSError as error:
        assert settings.ca is not None
        raise ConfigError(settings.ca, None, f"holds no usable PEM certificate ({error.strerror or error})") from None


class Runner:
    """Does everything the file says, until its context is left.

    Args:
        config_file: synthetic.yml, read now; raises ConfigError.
    """

    def __init__(self, config_file: Path) -> None:
        self._config_file = config_file
        self._settings = load(config_file)
        self._tls = tls_of(self._settings)
        self._replaced = asyncio.Event()
        self._crew: _Crew | None = None

    def reload(self) -> None:
        """Read the file again; raises ConfigError, and the test users go on with the old one then."""
        settings = load(self._config_file)
        self._settings, self._tls = settings, tls_of(settings)
        self._replaced.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep the test users busy inside the context."""
        self._crew = _Crew(self._settings, self._tls)
        async with running(self._run):
            yield

    async def _run(self) -> None:
        while True:
            assert self._crew is not None
            async with self._crew.at_work():
                await self._replaced.wait()
            self._replaced.clear()
            self._crew = _Crew(self._settings, self._tls)

    async def read(self) -> Snapshot:
        """Say what came of all journeys so far; waits for none."""
        assert self._crew is not None, "a scrape comes only while the background runs"
        return self._crew.snapshot()


class _Crew:
    """All test users of one configuration; `tls` trusts who may answer."""

    def __init__(self, settings: Settings, tls: ssl.SSLContext) -> None:
        self._settings = settings
        self._pulse = Pulse()
        marks = Marks(settings.passwords.values())
        self._tally = Tally(
            places(settings),
            [(relay.name, transport) for relay in settings.relays for transport in relay.transports],
            {
                journey: settings.intervals[key]
                for key, (_, _, journeys) in INTERVALS.items()
                for journey in journeys
                if key != "turn" or settings.relays or journey == names.CREDENTIALS
            },
            settings.vantage,
        )
        self._door = Door(settings, marks, tls)
        recorder = Recorder(self._tally, self._pulse)
        self._journeys = Journeys(settings.domain, self._door, marks, recorder, self._tally)
        self._turn_journeys = TurnJourneys(settings.domain, self._door.way, recorder, self._tally)
        accounts = (settings.sender, *settings.receivers.values())
        self._foreign = Foreign(frozenset(f"{account}@{settings.domain}" for account in accounts), marks)
        self._senders = {node.name: self._resident("sender", settings.sender, node.name) for node in settings.nodes}
        self._receivers = {name: self._resident("receiver", user, name) for name, user in settings.receivers.items()}
        self._turn_round = 0

    def _resident(self, role: str, user: str, name: str) -> Resident:
        node = next(node for node in self._settings.nodes if node.name == name)

        def on_message(resident: Resident, message: Element, now: float) -> None:
            self._journeys.arrived(resident, message, now)

        return Resident(
            node, role, user, door=self._door, foreign=self._foreign, pulse=self._pulse, on_message=on_message
        )

    def snapshot(self) -> Snapshot:
        """Return what is known now."""
        residents = (*self._senders.values(), *self._receivers.values())
        return self._tally.snapshot(
            {(resident.node.name, resident.role): resident.client is not None for resident in residents},
            len(self._foreign),
            self._pulse.stalls,
        )

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """Let the test users do their journeys inside the context; all have logged out when it is left."""
        residents = [*self._senders.values(), *self._receivers.values()]
        async with AsyncExitStack() as stack:
            await self._door.open()
            stack.push_async_callback(self._door.close)
            await stack.enter_async_context(running(self._pulse.run, *(resident.run for resident in residents)))
            await stack.enter_async_context(running(partial(self._work, residents)))
            yield

    async def _work(self, residents: list[Resident]) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_FIRST_TRY):
                for resident in residents:
                    await resident.tried.wait()
        async with running(*(partial(_repeat, *job) for job in self._jobs())):
            await asyncio.Event().wait()

    def _jobs(self) -> Iterator[tuple[Callable[[], Awaitable[None]], float]]:
        """Return what is to be done again and again, each with its interval."""
        every, do, user = self._settings.intervals, self._journeys, self._settings.sender
        for node in self._settings.nodes:
            contacts = [self._receivers[other.name] for other in self._settings.reachable(node)]
            for contact in contacts:
                yield partial(do.message, self._senders[node.name], contact), every["message"]
            yield partial(do.login, node, user), every["login"]
            yield partial(do.presence, node, user, contacts), every["presence"]
            yield partial(do.force_quit, node, user, contacts, every["force_quit"]), every["force_quit"]
            yield partial(do.vanish, node, user, contacts, every["vanish"]), every["vanish"]
            yield partial(do.resume, node, user), every["resume"]
        yield self._turn, every["turn"]

    async def _turn(self) -> None:
        """Ask every node for credentials, try each at every relay, and send media through each with one of them."""
        do, nodes = self._turn_journeys, credential_nodes(self._settings)
        # At once: where nobody answers, each costs its deadline, and all together must stay within the interval.
        given = await asyncio.gather(*(do.credentials(self._senders[name]) for name in nodes))
        self._turn_round += 1
        usable = [one for one in given if one is not None]
        chosen = usable[self._turn_round % len(usable)] if usable else None

        async def at(index: int) -> None:
            relay = self._settings.relays[index]
            tries = zip(nodes, given, strict=True)
            await asyncio.gather(*(do.allocate(name, relay, credentials) for name, credentials in tries))
            await asyncio.gather(*(do.media(relay, transport, chosen) for transport in relay.transports))

        await asyncio.gather(*(at(index) for index in range(len(self._settings.relays))))


async def _repeat(job: Callable[[], Awaitable[None]], interval: float) -> None:
    await asyncio.sleep(interval * random.random())  # noqa: S311 - a schedule, not a secret
    loop = asyncio.get_running_loop()
    while True:
        began = loop.time()
        await job()
        pause = interval * random.uniform(_SHORTEST, 1)  # noqa: S311 - as above
        await asyncio.sleep(max(0.0, began + pause - loop.time()))


def credential_nodes(settings: Settings) -> tuple[str, ...]:
    """Return the nodes that are asked for TURN credentials: the chosen ones, or the door's choice if there are none."""
    chosen = tuple(node.name for node in settings.nodes if node.name != names.ANY)
    return chosen or (names.ANY,)


def places(settings: Settings) -> Iterator[JourneyPlace]:
    """Return every (journey, from, to) there will be."""
    for node in settings.nodes:
        for journey in (names.LOGIN, names.RESUME):
            yield JourneyPlace(journey, node.name, node.name)
        for other in settings.reachable(node):
            for journey in (names.MESSAGE, names.ONLINE, names.AWAY, names.FORCE_QUIT, names.VANISH):
                yield JourneyPlace(journey, node.name, other.name)
    for name in credential_nodes(settings):
        yield JourneyPlace(names.CREDENTIALS, name, name)
        for relay in settings.relays:
            yield JourneyPlace(names.ALLOCATE, name, relay.name)
    for relay in settings.relays:
        for transport in relay.transports:
            yield JourneyPlace(names.RELAYS[transport], relay.name, relay.name)
