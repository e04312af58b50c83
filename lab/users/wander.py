"""`python -m lab.users.wander`: users of a Prosody who come, chat, walk away and vanish at random until it is stopped.

Its numbers are not exact. For exact numbers see `Traffic.hold` and `Traffic.churn`.
"""

import argparse
import asyncio
import contextlib
import json
import logging
import os
import random
import signal
import sys
from collections import Counter, deque
from pathlib import Path

from lab.fakes.providers import UNREGISTERED
from lab.users.traffic import Traffic
from xmpp.client import XmppClient
from xmpp.errors import ResumptionError, XmppError
from xmpp.login import TransportName
from xmpp.session import Show
from xmpp.transport import Endpoints, trusting, unverified

LOG = logging.getLogger("traffic")
LOG_EVERY = 5.0  # seconds
GOODBYE = 1.0  # seconds for clean disconnects once told to stop
PAUSE_AFTER_ERROR = 1.0  # seconds before a user tries again, so that a server that is down is not stormed
PUSH_TAKES = 0.5  # seconds between two looks at what Apple and Google delivered
MISTYPED = 0.1  # of all visits begin with a wrong password
PUSH_SERVICE = "push.commeazy.com"
SHOWS: tuple[Show, ...] = ("available", "away", "chat", "dnd", "xa")


class Wanderers:
    """A crowd of `users` on WebSocket and `tcp_users` on TCP that do `rate` things a second between them.

    They come within `within` seconds, evenly.
    """

    def __init__(  # noqa: PLR0913 - a crowd and its habits
        self,
        traffic: Traffic,
        *,
        users: int,
        tcp_users: int,
        rate: float,
        seed: int = 0,
        apart: bool = False,
        within: float = 2,
    ) -> None:
        self.events: Counter[str] = Counter()
        self._traffic = traffic
        self._users = users
        self._tcp_users = tcp_users
        self._pause = (users + tcp_users) / rate
        self._seed = seed
        self._apart = apart
        self._within = within
        self._names: list[str] = []
        self._asleep: list[str] = []
        self._phones: dict[str, str] = {}  # token -> whose phone has it
        self._waking: dict[str, asyncio.Task[None]] = {}
        self._vanished: deque[XmppClient] = deque()

    async def run(
        self,
        stop: asyncio.Event,
        duration: float | None = None,
        sleepers: int = 0,
        pushes: Path | None = None,
    ) -> None:
        """Wander until `stop` is set or `duration` seconds are over, then disconnect. Raises XmppError at the start.

        `sleepers` more are offline with phones that only a push wakes: messages go to them too, and every call.
        `pushes` is the log of `lab.fakes.providers`, which says what was delivered to a phone; without it none wakes.
        """
        self._names = await self._traffic.accounts(self._users + self._tcp_users)
        self._asleep = await self._traffic.accounts(sleepers)
        for number, name in enumerate(self._asleep):
            await self._fall_asleep(name, was_removed=number == 0)
        tasks = [
            asyncio.create_task(self._wander(name, "websocket" if number < self._users else "tcp"))
            for number, name in enumerate(self._names)
        ]
        tasks.append(asyncio.create_task(self._report()))
        if pushes is not None:
            tasks.append(asyncio.create_task(self._listen(pushes)))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(duration):
                await stop.wait()
        tasks += self._waking.values()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._traffic.close(GOODBYE)
        LOG.info("stopped: %s", self.summary())

    def summary(self) -> str:
        """Return the counts so far in one line, without a name or an address."""
        connected = sum(client.connected for client in self._traffic.clients)
        return " ".join([f"connected={connected}", *(f"{name}={count}" for name, count in sorted(self.events.items()))])

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(LOG_EVERY)
            LOG.info("%s", self.summary())

    async def _fall_asleep(self, name: str, *, was_removed: bool) -> None:
        """Register an iPhone and an Android phone, then go offline; `was_removed`: the Android one lost the app."""
        choice = random.Random(f"{self._seed}/{name}")  # noqa: S311 - not secrets either
        client = self._traffic.client(name)
        await client.login("websocket")
        iphone, android = f"{choice.getrandbits(256):064x}", f"android:{choice.getrandbits(256):x}"
        self._phones |= {iphone: name, android: name}
        await client.enable_push(PUSH_SERVICE, iphone, push_type="voip")
        await client.enable_push(PUSH_SERVICE, UNREGISTERED if was_removed else android)
        await client.disconnect()

    async def _listen(self, pushes: Path) -> None:
        """Wake each phone that a provider delivers a push to."""
        with pushes.open(encoding="utf-8") as log:
            log.seek(0, os.SEEK_END)
            while True:
                await asyncio.sleep(PUSH_TAKES)
                for line in log.readlines():
                    push = json.loads(line) if line.startswith("{") and line.endswith("\n") else {}
                    name = self._phones.get(push.get("node", "")) if push.get("delivered") else None
                    if name is not None and name not in self._waking:
                        self._waking[name] = asyncio.create_task(self._wake(name))

    async def _wake(self, name: str) -> None:
        """Come online as an app does, with the same tokens, and fall asleep again."""
        try:
            await self._fall_asleep(name, was_removed=name == self._asleep[0])
            self.events["woken"] += 1
        except XmppError as error:
            self.events["errors"] += 1
            LOG.debug("a phone failed to come: %s", error)
        finally:
            del self._waking[name]

    async def _wander(self, name: str, transport: TransportName) -> None:
        choice = random.Random(f"{self._seed}/{name}")  # noqa: S311 - choices, not secrets
        await asyncio.sleep(choice.uniform(0, self._within))  # not all at the same instant
        while True:
            try:
                await self._visit(choice, name, transport)
            except XmppError as error:
                self.events["errors"] += 1
                LOG.debug("a user failed: %s", error)
                await asyncio.sleep(PAUSE_AFTER_ERROR)

    async def _visit(self, choice: random.Random, name: str, transport: TransportName) -> None:
        if choice.random() < MISTYPED:
            await self._traffic.fail_to_log_in(name, transport)
            self.events["failed_logins"] += 1
        client = self._traffic.client(name)
        self._traffic.clients.append(client)
        try:
            await client.login(transport)
            self.events["logins"] += 1
            for _ in range(choice.randint(5, 20)):
                await asyncio.sleep(choice.expovariate(1 / self._pause))
                await self._act(choice, client)
            kept = await self._leave(choice, client)
        except XmppError:
            client.abort()
            self._traffic.clients.remove(client)
            raise
        if not kept:
            self._traffic.clients.remove(client)

    async def _act(self, choice: random.Random, client: XmppClient) -> None:
        action = choice.choices(("messages", "presences", "pings", "calls"), (60, 25, 10, 5))[0]
        asleep = self._asleep[action == "calls" :: 2] if self._apart else self._asleep
        peers = asleep if action == "calls" and asleep else [*self._names, *asleep]
        peer = f"{choice.choice(peers)}@{client.server.domain}"
        if action == "messages":
            await client.message(peer)
        elif action == "presences":
            await client.presence(choice.choice(SHOWS))
        elif action == "pings":
            await client.ping()
        else:
            await client.propose_call(peer)
        self.events[action] += 1

    async def _leave(self, choice: random.Random, client: XmppClient) -> bool:
        """End a visit in one of four ways; tell whether its socket is still to be kept."""
        way = choice.choices(("clean", "resumed", "expiring", "vanished"), (60, 20, 10, 10))[0]
        if way == "vanished":
            client.vanish()
            self._vanished.append(client)
            if len(self._vanished) > len(self._names):  # a bounded number of sockets nobody reads
                oldest = self._vanished.popleft()
                oldest.abort()
                self._traffic.clients.remove(oldest)
        elif way == "clean":
            await client.disconnect()
        else:
            client.abort()
            if way == "resumed":
                await asyncio.sleep(choice.uniform(0.5, 5))
                with contextlib.suppress(ResumptionError):  # the server may keep a session for less than that
                    await client.resume()
                    await client.disconnect()
        self.events[way] += 1
        return way == "vanished"


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line. Exits with 2 on wrong usage."""
    parser = argparse.ArgumentParser(
        prog="lab.users.wander", description="Users of a Prosody that come, chat and vanish."
    )
    parser.add_argument(
        "--websocket-url", required=True, metavar="URL", help="such as ws://127.0.0.1:5280/xmpp-websocket"
    )
    parser.add_argument(
        "--tcp-address", required=True, type=_address, metavar="HOST:PORT", help="client port, STARTTLS"
    )
    parser.add_argument("--admin-socket", required=True, type=Path, metavar="PATH", help="to create the accounts")
    parser.add_argument("--domain", default="commeazy.com")
    parser.add_argument("--tls-ca", type=Path, metavar="FILE", help="verify the server's certificate against this CA")
    parser.add_argument("--users", type=_count, default=20, help="on WebSocket (20)")
    parser.add_argument("--tcp-users", type=_count, default=5, help="on TCP (5)")
    parser.add_argument("--sleepers", type=_count, default=0, help="offline, registered for pushes (0)")
    parser.add_argument("--pushes", type=Path, metavar="FILE", help="log of the fakes; without it no phone wakes")
    parser.add_argument("--apart", action="store_true", help="a sleeper gets calls or messages, and not both")
    parser.add_argument("--addresses", type=_count, default=1, help="of 127.0.0.0/8 to come from (1)")
    parser.add_argument("--rate", type=_positive, default=5.0, help="things all users do a second, together (5)")
    parser.add_argument("--within", type=_positive, default=2, metavar="S", help="seconds in which they come (2)")
    parser.add_argument("--duration", type=_positive, metavar="S", help="seconds to run; without it, until a signal")
    parser.add_argument("--seed", type=int, default=0, help="decides every random choice (0)")
    options = parser.parse_args(arguments)
    if options.addresses not in range(1, 255):
        parser.error("--addresses is a number from 1 to 254")
    if options.users + options.tcp_users == 0:
        parser.error("there is nobody: give --users or --tcp-users")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run until the duration is over or SIGTERM or SIGINT; 0 after that, 1 if the server cannot be used at all."""
    options = parse(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    try:
        asyncio.run(_run(options))
    except XmppError as error:
        LOG.error("%s", error)  # noqa: TRY400 - one line is what a user needs
        return 1
    return 0


async def _run(options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    host, port = options.tcp_address
    tls = trusting(options.tls_ca) if options.tls_ca else unverified()
    server = Endpoints(options.domain, options.websocket_url, host, port, tls)
    async with Traffic(server, options.admin_socket, seed=options.seed, addresses=options.addresses) as traffic:
        crowd = Wanderers(
            traffic,
            users=options.users,
            tcp_users=options.tcp_users,
            rate=options.rate,
            seed=options.seed,
            apart=options.apart,
            within=options.within,
        )
        await crowd.run(stop, options.duration, options.sleepers, options.pushes)


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is not HOST:PORT")
    return host.strip("[]"), int(port)


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is not a number from 0 up")
    return int(text)


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number above 0")
    return number


if __name__ == "__main__":
    sys.exit(main())
