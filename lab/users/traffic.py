"""Puts an exactly known load on a Prosody: sessions held in known states, or logins at a known rate with known totals.

It counts what its clients did and asks the server only whether it has noticed; it reads no metrics. For users who come
and go at random see `lab.users.wander`.
"""

import asyncio
import contextlib
import json
import random
import secrets
from collections import Counter
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self, TypeVar

import aiohttp

from lab.users.accounts import PASSWORD, ask, create_accounts, username
from xmpp.client import XmppClient
from xmpp.errors import AuthenticationError, XmppError
from xmpp.login import TransportName
from xmpp.transport import Endpoints

if TYPE_CHECKING:
    from xmpp.session import Show

T = TypeVar("T")
LOGINS_AT_ONCE = 64  # keeps a thousand logins from outrunning their own deadlines
NOTICE_SECONDS = 20  # within which the server must have noticed what the clients did

# One pass over the bound sessions of one generator; the pattern is its resources' common prefix.
_CENSUS = (
    "> local all, asleep = 0, 0; for _, s in pairs(prosody.full_sessions) do "
    "if s.resource:sub(1, {length}) == '{tag}' then all = all + 1; "
    "if s.hibernating then asleep = asleep + 1 end end end; "
    "return true, ('[%d,%d]'):format(all, asleep)"
)


@dataclass(frozen=True)
class Mix:
    """A population to hold. The later fields say what becomes of some of the websocket and tcp sessions.

    hibernated: resumable, and their connection broke. force_quit: not resumable, and their connection broke, so
    they are sessions no more. vanished: resumable, and their socket has gone silent. away: say so, hibernated or not.
    failed_logins: attempts with a wrong password, beside the sessions.
    """

    websocket: int = 0
    tcp: int = 0
    hibernated: int = 0
    force_quit: int = 0
    vanished: int = 0
    away: int = 0
    failed_logins: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError if the parts exceed the whole."""
        if self.hibernated + self.force_quit + self.vanished > self.websocket + self.tcp:
            raise ValueError("hibernated, force_quit and vanished sessions are more than there are sessions")
        if self.away > self.websocket + self.tcp - self.force_quit:
            raise ValueError("more sessions are away than are left")


@dataclass
class Truth:
    """What the clients of one generator have done so far, and the state they are in.

    sent and received count stanzas by kind from the clients' side: `sent` is the server's `in`. authentications
    counts SASL exchanges by success and failure, a resumption's among them. presence says what each bound session
    last announced, hibernated ones included. sessions counts bound sessions by transport, hibernated ones included.
    """

    sessions: Counter[str] = field(default_factory=Counter)
    hibernated: int = 0
    presence: Counter[str] = field(default_factory=Counter)
    authentications: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)  # clean, force_quit
    resumed: int = 0
    sent: Counter[str] = field(default_factory=Counter)
    received: Counter[str] = field(default_factory=Counter)
    shows: Counter[str] = field(default_factory=Counter)  # presences sent, by what they said

    def add_stanzas(self, client: XmppClient) -> None:
        """Count what a client sent and received, once its part is over."""
        self.sent += client.sent
        self.received += client.received
        self.shows += client.shows


class Traffic:
    """Clients of one server; leaving the `async with` block ends every connection it opened.

    Each login gets a resource of its own, so that none replaces another; `seed` decides every random choice. Over
    WebSocket they come from `addresses` addresses, 127.0.0.1 and up, one login after the other.
    """

    def __init__(
        self, server: Endpoints, admin_socket: Path, *, seed: int = 0, prefix: str = "user", addresses: int = 1
    ) -> None:
        self.server = server
        self.clients: list[XmppClient] = []  # those whose connection is open or that may be resumed
        self._admin_socket = admin_socket
        self._random = random.Random(seed)  # noqa: S311 - choices, not secrets
        self._prefix = prefix
        self._tag = f"t{secrets.token_hex(4)}-"  # two generators on one server tell their sessions apart
        self._logins = 0
        self._accounts = 0
        self._addresses = addresses
        self._http: list[aiohttp.ClientSession] = []

    async def __aenter__(self) -> Self:
        """Prepare the HTTP side; nothing connects yet."""
        self._http = [
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, local_addr=(f"127.0.0.{number + 1}", 0)))
            for number in range(self._addresses)
        ]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect everybody, within the clients' own deadlines."""
        await self.close()

    async def close(self, seconds: float = 10) -> None:
        """Disconnect cleanly all who can be within `seconds`, then break the rest; hibernated sessions expire."""
        await asyncio.gather(*(self._say_goodbye(client, seconds) for client in self.clients))
        self.clients.clear()
        for session in self._http:
            await session.close()

    @staticmethod
    async def _say_goodbye(client: XmppClient, seconds: float) -> None:
        with contextlib.suppress(XmppError, TimeoutError):
            if client.connected:
                async with asyncio.timeout(seconds):
                    await client.disconnect()
        client.abort()

    async def accounts(self, count: int) -> list[str]:
        """Return `count` user names that no earlier call returned; their accounts exist. Raises XmppError."""
        first = self._accounts + 1
        self._accounts += count
        await create_accounts(self._admin_socket, self.server.domain, self._accounts, self._prefix)
        return [username(number, self._prefix) for number in range(first, self._accounts + 1)]

    def client(self, user: str, *, password: str = PASSWORD) -> XmppClient:
        """Return a client that is not connected yet, with a resource nobody has had."""
        assert self._http, "use Traffic in an `async with` block"
        self._logins += 1
        http = self._http[self._logins % self._addresses]
        return XmppClient(self.server, user, password, http=http, resource=f"{self._tag}{self._logins}")

    async def fail_to_log_in(self, user: str, transport: TransportName = "websocket") -> XmppClient:
        """Try a wrong password. Raises XmppError if the server takes it."""
        client = self.client(user, password=f"not {PASSWORD}")
        try:
            await client.login(transport)
        except AuthenticationError:
            return client
        client.abort()
        raise XmppError("the server accepted a wrong password")

    # A population that stands still ----------------------------------------------------------------------------

    async def hold(self, mix: Mix) -> Truth:
        """Log the whole mix in, bring each session into its state and return what is then true of this mix alone.

        Returns once the server itself counts the same sessions. Raises XmppError.
        """
        users = await self.accounts(mix.websocket + mix.tcp + mix.failed_logins)
        fates = ["hibernated"] * mix.hibernated + ["force_quit"] * mix.force_quit + ["vanished"] * mix.vanished
        fates += ["held"] * (mix.websocket + mix.tcp - len(fates))
        self._random.shuffle(fates)
        staying = [number for number, fate in enumerate(fates) if fate != "force_quit"]
        away = set(self._random.sample(staying, mix.away))
        expected, asleep = await self.census()

        truth = Truth()
        clients = [self.client(user) for user in users[: len(fates)]]
        self.clients += clients

        async def log_in(number: int, client: XmppClient) -> None:
            transport: TransportName = "websocket" if number < mix.websocket else "tcp"
            await client.login(transport, management="on" if fates[number] == "force_quit" else "resumable")
            if number in away:
                await client.presence("away")
            await client.settle()

        await _bounded(log_in(number, client) for number, client in enumerate(clients))
        failed = [self.fail_to_log_in(user, self._random.choice(("websocket", "tcp"))) for user in users[len(fates) :]]
        for client in await _bounded(failed):
            truth.add_stanzas(client)
        for number, client in enumerate(clients):
            fate = fates[number]
            truth.add_stanzas(client)
            if fate in ("hibernated", "force_quit"):
                client.abort()
            elif fate == "vanished":
                client.vanish()
            if fate == "force_quit":
                self.clients.remove(client)
                truth.ends["force_quit"] += 1
            else:
                truth.sessions[client.transport] += 1
                truth.presence["away" if number in away else "available"] += 1
        truth.hibernated = mix.hibernated
        truth.authentications.update(success=len(clients), failure=mix.failed_logins)
        await self.until_noticed(expected + len(staying), asleep + mix.hibernated)
        return truth

    # A population that comes and goes --------------------------------------------------------------------------

    async def churn(self, rate: float, seconds: float) -> Truth:
        """Start `rate` logins a second for `seconds`; each chats with itself, goes away and leaves in one of four ways.

        Of ten, about seven disconnect cleanly, one is resumed first, one force-quits, one has a wrong password.
        Returns the exact totals; no session of it is left. Raises XmppError if one client fails: then nothing is exact.
        """
        expected, asleep = await self.census()
        truth = Truth()
        free: asyncio.Queue[str] = asyncio.Queue()
        for user in await self.accounts(max(8, round(rate * 2))):
            free.put_nowait(user)
        loop = asyncio.get_running_loop()
        start = loop.time()
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(round(rate * seconds)):
                    await asyncio.sleep(max(0.0, start + number / rate - loop.time()))  # the pace, not a wait
                    user = await free.get()
                    group.create_task(self._come_and_go(user, truth, free))
        except ExceptionGroup as group:
            raise _first_failure(group) from None
        await self.until_noticed(expected, asleep)
        return truth

    async def _come_and_go(self, user: str, truth: Truth, free: asyncio.Queue[str]) -> None:
        fate = self._random.choices(("clean", "resumed", "force_quit", "failed"), (7, 1, 1, 1))[0]
        transport: TransportName = self._random.choice(("websocket", "websocket", "websocket", "tcp"))
        if fate == "failed":
            truth.add_stanzas(await self.fail_to_log_in(user, transport))
            truth.authentications["failure"] += 1
            free.put_nowait(user)
            return
        client = self.client(user)
        self.clients.append(client)
        management: Literal["on", "resumable"] = "on" if fate == "force_quit" else "resumable"
        await client.login(transport, management=management)
        truth.authentications["success"] += 1
        await client.message(client.full_jid)
        await client.wait_until(lambda: client.received["message"] == 1, "the message to itself")
        show: Show = self._random.choice(("away", "xa", "dnd", "chat"))
        await client.presence(show)
        await client.settle()
        if fate == "resumed":
            client.abort()
            await client.resume()
            await client.settle()
            truth.authentications["success"] += 1
            truth.resumed += 1
        if fate == "force_quit":
            client.abort()
            truth.ends["force_quit"] += 1
        else:
            await client.disconnect()
            truth.ends["clean"] += 1
        truth.add_stanzas(client)
        self.clients.remove(client)
        free.put_nowait(user)

    # What the server has noticed -------------------------------------------------------------------------------

    async def census(self) -> tuple[int, int]:
        """Return how many bound sessions of this generator the server has, and how many of them hibernate."""
        text = await ask(self._admin_socket, _CENSUS.format(length=len(self._tag), tag=self._tag))
        all_, asleep = json.loads(text.removeprefix("OK: "))
        return all_, asleep

    async def until_noticed(self, sessions: int, hibernated: int, seconds: float = NOTICE_SECONDS) -> None:
        """Return once the server's census is the expected one; a broken connection reaches it a moment later."""
        deadline = asyncio.get_running_loop().time() + seconds
        while (seen := await self.census()) != (sessions, hibernated):
            if asyncio.get_running_loop().time() > deadline:
                raise XmppError(
                    f"the server has {seen[0]} sessions, {seen[1]} of them hibernated, "
                    f"where the clients left {sessions} and {hibernated}"
                )
            await asyncio.sleep(0.02)  # nothing announces it: the server is asked again


def _first_failure(group: ExceptionGroup[Exception]) -> Exception:
    """Pick what a client says failed; a defect of ours keeps its group. (Python 3.11.2 wraps what `except*` raises)."""
    clients, defects = group.split(XmppError)
    return clients.exceptions[0] if clients and not defects else group


async def _bounded(work: Iterable[Awaitable[T]]) -> list[T]:
    """Await everything, LOGINS_AT_ONCE at a time, and return the results in order; the first error ends the rest."""
    gate = asyncio.Semaphore(LOGINS_AT_ONCE)

    async def one(job: Awaitable[T]) -> T:
        async with gate:
            return await job

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(job)) for job in work]
    except ExceptionGroup as group:
        raise _first_failure(group) from None
    return [task.result() for task in tasks]
