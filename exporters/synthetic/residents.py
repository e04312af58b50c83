"""Test users that stay logged in, one sender and one receiver on each node, and what they see. It measures nothing."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from exporters.synthetic.door import reason_of
from xmpp.elements import CLIENT
from xmpp.errors import XmppError

if TYPE_CHECKING:
    from collections.abc import Callable
    from xml.etree.ElementTree import Element

    from exporters.synthetic.config import Node
    from exporters.synthetic.door import Door
    from exporters.synthetic.marks import Marks
    from exporters.synthetic.pulse import Pulse
    from xmpp.client import XmppClient

_log = logging.getLogger(__name__)
_PAUSES = (1.0, 2.0, 3.0, 5.0)  # seconds before the next try; the last one again and again
_PING_EVERY = 30.0  # seconds, unless somebody doubts the connection before
_GOODBYE = 0.4  # seconds to leave when the exporter stops; it has less than one for everything
_MOST_FOREIGN = 1000  # sessions remembered


class Wanted(NamedTuple):
    """A presence somebody waits for: what it says, and the future that gets the time of its arrival."""

    kind: str
    seen: asyncio.Future[float]


class Foreign:
    """Remembers sessions of the test accounts that none of us opened.

    Args:
        accounts: bare addresses of the test accounts.
        marks: knows the resources of our own sessions.
    """

    def __init__(self, accounts: frozenset[str], marks: Marks) -> None:
        self._accounts = accounts
        self._marks = marks
        self._seen: OrderedDict[tuple[int, str], None] = OrderedDict()

    def __len__(self) -> int:
        return len({address for _, address in self._seen})

    def notice(self, witness: int, presence: Element) -> None:
        """Look at a presence that one resident got, by its number."""
        address = presence.get("from", "")
        bare, _, resource = address.partition("/")
        if bare not in self._accounts or not resource or self._marks.genuine(resource):
            return
        if presence.get("type") == "unavailable":
            self._seen.pop((witness, address), None)
        elif presence.get("type") is None and (witness, address) not in self._seen:
            if not self._seen:
                _log.warning("a session of a test account that no synthetic-user exporter opened: change the passwords")
            self._seen[witness, address] = None
            while len(self._seen) > _MOST_FOREIGN:
                self._seen.popitem(last=False)

    def forget(self, witness: int) -> None:
        """Forget what a resident saw; its own session is over, and the next one sees it again."""
        for key in [key for key in self._seen if key[0] == witness]:
            del self._seen[key]


class Resident:
    """One test user that stays logged in on one node; one that loses its connection comes back by itself.

    Args:
        node: where.
        role: "sender" or "receiver".
        user: its account.
        door: where it logs in.
        foreign: gets to know every presence.
        pulse: knows whether the exporter itself was the reason.
        on_message: called with each message and the time it came, on the event loop's clock.

    Attributes:
        client: its session; None while it has none.
        failure: why it has none, of `names.RESULTS`.
        tried: set once the first login has gone well or not.
        lost: done when the present session is over; the result is why.
    """

    def __init__(  # noqa: PLR0913 - an account, its place, its manner, and its listeners
        self,
        node: Node,
        role: str,
        user: str,
        *,
        door: Door,
        foreign: Foreign,
        pulse: Pulse,
        on_message: Callable[[Resident, Element, float], None],
    ) -> None:
        self.node, self.role, self.user = node, role, user
        self.client: XmppClient | None = None
        self.failure = "disconnected"
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.lost.set_result(self.failure)
        self._door = door
        self._foreign = foreign
        self._pulse = pulse
        self._on_message = on_message
        self._wanted: dict[str, list[Wanted]] = {}
        self._doubt = asyncio.Event()
        self.tried = asyncio.Event()
        self._last_logged: str | None = None

    async def run(self) -> None:
        """Stay logged in until cancelled; then leave without a trace."""
        tries = 0
        while True:
            began = asyncio.get_running_loop().time()
            try:
                await self._stay()
            except XmppError as error:
                tries = 0 if self.client is not None else tries + 1
                # While the exporter stood still, the server may well have given it up.
                stalled = self._pulse.stalled_since(max(began, asyncio.get_running_loop().time() - _PING_EVERY))
                self._over("suspended" if stalled else reason_of(error), str(error))
            await asyncio.sleep(_PAUSES[min(tries, len(_PAUSES) - 1)])

    async def _stay(self) -> None:
        client = self._door.client(self.node, self.user, self._arrived)
        await self._door.login(client, self.node, show="available")
        self.lost = asyncio.get_running_loop().create_future()
        self.client = client
        self.tried.set()
        if self._last_logged is not None:
            _log.info("logged in again", extra={"node": self.node.name, "role": self.role, "was": self._last_logged})
            self._last_logged = None
        self._doubt.clear()
        end = asyncio.ensure_future(client.ended())
        try:
            while not end.done():
                doubted = asyncio.ensure_future(self._doubt.wait())
                await asyncio.wait({end, doubted}, timeout=_PING_EVERY, return_when=asyncio.FIRST_COMPLETED)
                doubted.cancel()
                if not end.done():
                    await client.ping()
                    self._doubt.clear()
            raise end.result()
        except asyncio.CancelledError:
            with suppress(XmppError, TimeoutError):
                async with asyncio.timeout(_GOODBYE):
                    await client.disconnect()
            raise
        finally:
            end.cancel()
            client.abort()

    def doubt(self) -> None:
        """Find out now whether the connection still works; what was sent over it got no answer."""
        self._doubt.set()

    def _over(self, result: str, text: str) -> None:
        self.client, self.failure = None, result
        self.tried.set()
        self._foreign.forget(id(self))
        if not self.lost.done():
            self.lost.set_result(result)
        if result != self._last_logged:
            _log.warning(
                "no session: %s", text, extra={"node": self.node.name, "role": self.role, "result": result}
            )  # fmt: skip
            self._last_logged = result

    def _arrived(self, stanza: Element) -> None:
        now = asyncio.get_running_loop().time()
        if stanza.tag == f"{{{CLIENT}}}presence":
            self._foreign.notice(id(self), stanza)
            self._saw(stanza, now)
        else:
            self._on_message(self, stanza, now)

    def _saw(self, presence: Element, now: float) -> None:
        kind = presence.get("type") or presence.findtext(f"{{{CLIENT}}}show") or "available"
        for wanted in self._wanted.get(presence.get("from", ""), ()):
            if wanted.kind == kind and not wanted.seen.done():
                wanted.seen.set_result(now)

    def watch(self, address: str, kind: str) -> asyncio.Future[float]:
        """Return a future that gets the time at which a presence arrives.

        Args:
            address: the full address it comes from.
            kind: "available", "unavailable", or what its `<show/>` says.
        """
        seen: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        waiting = self._wanted.setdefault(address, [])
        waiting.append(Wanted(kind, seen))

        def over(_: asyncio.Future[float]) -> None:
            waiting[:] = [wanted for wanted in waiting if wanted.seen is not seen]
            if not waiting and self._wanted.get(address) is waiting:
                del self._wanted[address]

        seen.add_done_callback(over)
        return seen
