"""One XMPP session: it logs in, counts and acknowledges stanzas, resumes, ends. What a user sends: client.py.

Every operation waits for proof of its success, within the session's `timeout`, or raises one of the errors of
`xmpp.errors`. A session keeps at most MAX_UNACKED stanzas and an inbox of 64, whatever a server sends.
"""

import asyncio
import contextlib
import itertools
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Literal
from xml.etree import ElementTree as ET

import aiohttp

from xmpp.elements import CLIENT, STANZAS, STREAMS, condition_of, describe_error, local_name, number, stanza
from xmpp.errors import ConnectionEndedError, DeadlineError, ProtocolError, ResumptionError, StanzaError, XmppError
from xmpp.login import SM, Login, StreamManagement, TransportName, connect
from xmpp.transport import WATCH, Endpoints, Stopwatch, Transport

ACK_EVERY = 20  # stanzas sent between two requests for the server's acknowledgement
MAX_UNACKED = 4096  # stanzas kept for a server that acknowledges nothing

Management = Literal["off", "on", "resumable"]
Show = Literal["available", "away", "chat", "dnd", "xa", "unavailable"]


class XmppSession:
    """One user on one device; the same object can resume its session on another transport.

    `sent` and `received` count stanzas by kind over the client's whole life, as the wire has them: what was sent
    again after a resumption counts again, and what a vanished client never read does not count.

    Args:
        server: where to connect.
        username: of the account, without the domain.
        password: of the account; it is in no message of any error.
        http: the HTTP side of WebSockets; `websocket.http_session` makes one that tells the stages of a login.
        resource: to bind.
        timeout: seconds for each operation.
        on_stanza: called with each message and presence as it arrives, before anything else looks at it.
    """

    def __init__(  # noqa: PLR0913 - an account, a device and a place to log in to
        self,
        server: Endpoints,
        username: str,
        password: str,
        *,
        http: aiohttp.ClientSession,
        resource: str = "phone",
        timeout: float = 10,
        on_stanza: Callable[[ET.Element], None] | None = None,
    ) -> None:
        self.server = server
        self.username = username
        self.resource = resource
        self.timeout = timeout
        self.sent: Counter[str] = Counter()
        self.received: Counter[str] = Counter()
        self.shows: Counter[Show] = Counter()  # the presences among `sent`, by their content
        self.inbox: deque[ET.Element] = deque(maxlen=64)  # the last messages and presences, for a test to look at
        self.full_jid = ""
        self.management: StreamManagement | None = None
        self.stages: Mapping[str, float] = {}  # seconds of each stage of the last login or resumption
        self._on_stanza = on_stanza
        self._password = password
        self._http = http
        self._transport: Transport | None = None
        self._reader: asyncio.Task[None] | None = None
        self._end: XmppError | None = None
        self._waiting: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self._answers: dict[str, asyncio.Future[ET.Element]] = {}
        self.ids = itertools.count(1)  # for the next stanza that needs one
        self._handled = 0  # stanzas received since stream management began (XEP-0198, h)
        self._acked = 0  # how many of our stanzas the server says it has handled
        self._unacked: deque[tuple[str, str]] = deque()

    @property
    def transport(self) -> str:
        """Return the transport of the present or last connection, or ''."""
        return self._transport.name if self._transport else ""

    @property
    def headers(self) -> Mapping[str, str]:
        """Return the headers of the HTTP answer that opened the present or last connection."""
        return self._transport.headers if self._transport else {}

    @property
    def end(self) -> XmppError | None:
        """Return why the connection is over, None while it is open."""
        return self._end

    @property
    def connected(self) -> bool:
        """Tell whether the stream is open as far as this side knows."""
        return self._reader is not None and not self._reader.done()

    async def open(self, transport: TransportName = "websocket", *, management: Management = "resumable") -> None:
        """Connect, authenticate, bind, enable stream management; no presence yet.

        Raises AuthenticationError for a wrong password, else XmppError.
        """
        async with self._connecting("log in", transport) as login:
            self.full_jid = await login.bind(self.resource)
            self.management = None
            if management != "off":
                self.management = await login.enable(resume=management == "resumable")
                self._handled = self._acked = 0
                self._unacked.clear()
        self._start_reading()

    async def resume(self, transport: TransportName | None = None) -> None:
        """Take the session up again after the connection was lost (XEP-0198 5), on the transport it had.

        Returns once what the server had missed has been sent again; what it had kept arrives then. Raises
        ResumptionError if the session is gone. A resumption on the other `transport` is granted by Prosody 13.0,
        but the stream is dead from there on: the session goes on decoding with the framing it began with.
        """
        if self.management is None or not self.management.id:
            raise ResumptionError("the session was not resumable")
        transport = transport or ("tcp" if self.transport == "tcp" else "websocket")
        self._leave(ConnectionEndedError("the client resumes its session"))
        async with self._connecting("resume", transport) as login:
            self._acknowledge(await login.resume(self.management.id, self._handled))
        again, self._unacked = list(self._unacked), deque()
        self._start_reading()
        for kind, text in again:
            await self._send_counted(kind, text)

    async def send_stanza(self, kind: str, payload: str, **attributes: str) -> None:
        """Send a stanza of this kind with these attributes, without the empty ones."""
        await self._send_counted(kind, stanza(kind, payload, **attributes))

    async def request(self, type_: Literal["get", "set"], payload: str, to: str = "") -> ET.Element:
        """Ask the server, or `to`, and return the result.

        Raises StanzaError if the answer is an error, DeadlineError without one, else XmppError.
        """
        identifier = f"q{next(self.ids)}"
        answer: asyncio.Future[ET.Element] = asyncio.get_running_loop().create_future()
        self._answers[identifier] = answer
        try:
            async with self._deadline("get an answer to an iq"):
                await self.send_stanza("iq", payload, type=type_, id=identifier, to=to)
                result = await answer
        finally:
            del self._answers[identifier]
        if result.get("type") != "result":
            raise StanzaError(f"the server answered {describe_error(result)}", condition_of(result))
        return result

    async def ping(self) -> None:
        """Ping the server (XEP-0199). Once it answers, it has handled everything sent before."""
        await self.request("get", "<ping xmlns='urn:xmpp:ping'/>")

    async def settle(self) -> None:
        """Return when both sides have every stanza so far: ours are acknowledged, and the server's have arrived."""
        await self.ping()
        if self.management is not None:
            await self._send(f"<r xmlns='{SM}'/>")
            await self.wait_until(lambda: not self._unacked, "the server's acknowledgement")

    async def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        """Return once `condition` holds; it is checked after every element received. Raises XmppError."""
        if condition():
            return
        if self._end is not None:
            raise self._end
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (condition, future)
        self._waiting.append(entry)
        try:
            async with self._deadline(f"wait for {what}"):
                await future
        finally:
            with contextlib.suppress(ValueError):
                self._waiting.remove(entry)

    async def ended(self) -> XmppError:
        """Wait, without a deadline, until the connection is over; return why."""
        if self._reader is not None:
            await asyncio.wait({self._reader})
        return self._end or ConnectionEndedError("the client is not connected")

    # Leaving ---------------------------------------------------------------------------------------------------

    async def disconnect(self) -> None:
        """Close the stream cleanly and wait until the server has closed its own."""
        if self._transport is None or self._reader is None:
            return
        try:
            async with self._deadline("close the stream"):
                await self._transport.send_close()
                await asyncio.wait({self._reader})
                await self._transport.close()
        except ConnectionEndedError:
            pass  # the server was faster
        finally:
            self._leave(ConnectionEndedError("the client has disconnected"))
        self.management = None

    def abort(self) -> None:
        """Force-quit: the connection breaks at once; a resumable session then hibernates on the server."""
        self._leave(ConnectionEndedError("the client has broken its connection"))

    def vanish(self) -> None:
        """Force-quit silently: the socket stays open but nothing is read or answered, until `abort`.

        Raises XmppError if the connection is over already.
        """
        assert self._transport is not None
        if self._end is not None:
            raise self._end
        self._stop_reading(ConnectionEndedError("the client has vanished"))
        self._transport.silence()

    # Inside ----------------------------------------------------------------------------------------------------

    def _start_reading(self) -> None:
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self._transport is not None
        try:
            while (element := await self._transport.receive()) is not None:
                await self._handle(element)
            end: XmppError = ConnectionEndedError("the server closed the stream")
        except XmppError as error:
            self._transport.abort()
            end = error
        except Exception:
            self._transport.abort()
            self._fail(ProtocolError("a bug in reading the stream; please report it"))
            raise
        self._fail(end)

    async def _handle(self, element: ET.Element) -> None:
        kind = local_name(element)
        if element.tag.startswith(f"{{{CLIENT}}}") and kind in STANZAS:
            self.received[kind] += 1
            self._handled += 1
            if kind == "iq":
                await self._handle_iq(element)
            else:
                if self._on_stanza is not None:
                    self._on_stanza(element)
                self.inbox.append(element)
        elif element.tag == f"{{{SM}}}r":
            await self._send(f"<a xmlns='{SM}' h='{self._handled}'/>")
        elif element.tag == f"{{{SM}}}a":
            self._acknowledge(element)
        elif element.tag == f"{{{STREAMS}}}error":
            raise ConnectionEndedError(f"the server ended the stream: {describe_error(element)}")
        for condition, future in self._waiting:
            if not future.done() and condition():
                future.set_result(None)

    async def _handle_iq(self, element: ET.Element) -> None:
        answer = self._answers.get(element.get("id", ""))
        if element.get("type") in ("result", "error"):
            if answer is not None and not answer.done():
                answer.set_result(element)
            return
        await self.send_stanza(
            "iq",
            "<error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>",
            type="error",
            id=element.get("id", ""),
            to=element.get("from", ""),
        )

    async def _send_counted(self, kind: str, text: str) -> None:
        if self._end is not None:
            raise self._end
        if self.management is not None:
            if len(self._unacked) >= MAX_UNACKED:
                raise ProtocolError(f"the server has acknowledged none of {MAX_UNACKED} stanzas")
            self._unacked.append((kind, text))
        self.sent[kind] += 1
        await self._send(text)
        if self._unacked and len(self._unacked) % ACK_EVERY == 0:
            await self._send(f"<r xmlns='{SM}'/>")

    async def _send(self, text: str) -> None:
        if self._transport is None:
            raise ConnectionEndedError("the client is not connected")
        async with self._deadline("send"):
            await self._transport.send(text)

    def _acknowledge(self, element: ET.Element) -> None:
        handled = number(element, "h", 0)
        for _ in range(min(handled - self._acked, len(self._unacked))):
            self._unacked.popleft()
        self._acked = handled

    def _fail(self, end: XmppError) -> None:
        if self._end is None:
            self._end = end
        for _, future in self._waiting:
            if not future.done():
                future.set_exception(end)
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(end)

    def _stop_reading(self, end: XmppError) -> None:
        self._fail(end)
        if self._reader is not None:
            self._reader.cancel()

    def _leave(self, end: XmppError) -> None:
        self._stop_reading(end)
        if self._transport is not None:
            self._transport.abort()

    @contextlib.asynccontextmanager
    async def _connecting(self, operation: str, transport: TransportName) -> AsyncIterator[Login]:
        """Connect and authenticate; the block does the rest. `stages` has the time of each stage, failed or not."""
        self._end = self._transport = None
        watch = Stopwatch()
        self.stages = watch.seconds
        token = WATCH.set(watch)
        try:
            async with self._deadline(operation, transport):
                self._transport = await connect(transport, self.server, self._http)
                login = Login(self._transport, self.server.domain)
                try:
                    await login.authenticate(self.username, self._password)
                    yield login
                finally:
                    self.sent += login.sent
                    self.received += login.received
        except BaseException:
            if self._transport is not None:
                self._transport.abort()
            raise
        finally:
            WATCH.reset(token)

    @contextlib.asynccontextmanager
    async def _deadline(self, operation: str, transport: str = "") -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self.timeout):
                yield
        except TimeoutError as error:
            over = transport or self.transport
            raise DeadlineError(f"could not {operation} within {self.timeout:g} s over {over}") from error
