"""Turns a connection into a session: authenticates, binds, enables or resumes stream management (XEP-0198).

During a login nothing else reads from the transport: the next element is always the answer to the last request.
"""

import base64
from collections import Counter
from dataclasses import dataclass
from typing import Literal
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape, quoteattr

import aiohttp

from xmpp.elements import STANZAS, STREAMS, describe_error, local_name, number, stanza
from xmpp.errors import AuthenticationError, ConnectionEndedError, ProtocolError, ResumptionError
from xmpp.scram import MECHANISMS, ScramClient
from xmpp.tcp import TcpTransport
from xmpp.transport import Endpoints, Transport, lap
from xmpp.websocket import WebSocketTransport

SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
BIND = "urn:ietf:params:xml:ns:xmpp-bind"
SM = "urn:xmpp:sm:3"

TransportName = Literal["websocket", "tcp"]


@dataclass(frozen=True)
class StreamManagement:
    """The server's answer to `<enable/>`: the resumption id ('' if not resumable), and how long the session is kept."""

    id: str
    max_seconds: int


async def connect(name: TransportName, server: Endpoints, http: aiohttp.ClientSession) -> Transport:
    """Connect over a transport. Raises XmppError."""
    if name == "websocket":
        return await WebSocketTransport.connect(server, http)
    return await TcpTransport.connect(server)


class Login:
    """One login over one new connection.

    Args:
        transport: connected.
        domain: the XMPP domain.

    Attributes:
        sent, received: stanzas by kind, as the wire has them.
    """

    def __init__(self, transport: Transport, domain: str) -> None:
        self._transport = transport
        self._domain = domain
        self.sent: Counter[str] = Counter()
        self.received: Counter[str] = Counter()

    async def authenticate(self, username: str, password: str) -> None:
        """Open the stream, authenticate by SCRAM, open it again. Raises AuthenticationError, else XmppError."""
        features = await self._transport.open(self._domain)
        offered = {element.text for element in features.iter(f"{{{SASL}}}mechanism")}
        mechanism = next((name for name in MECHANISMS if name in offered), None)
        if mechanism is None:
            raise ProtocolError("the server offers no SCRAM mechanism on this connection")
        scram = ScramClient(mechanism, username, password)
        challenge = await self.ask(f"<auth xmlns='{SASL}' mechanism='{mechanism}'>{_encode(scram.first())}</auth>")
        if challenge.tag != f"{{{SASL}}}challenge":
            raise AuthenticationError(f"authentication refused: {describe_error(challenge)}")
        try:
            proof = scram.final(_decode(challenge.text))
            outcome = await self.ask(f"<response xmlns='{SASL}'>{_encode(proof)}</response>")
            if outcome.tag != f"{{{SASL}}}success":
                raise AuthenticationError(f"authentication refused: {describe_error(outcome)}")
            scram.verify(_decode(outcome.text))
        except ValueError as error:
            raise ProtocolError(f"SCRAM: {error}") from None
        await self._transport.open(self._domain)
        lap("sasl")

    async def bind(self, resource: str) -> str:
        """Bind a resource and return the full address. Raises XmppError."""
        wish = f"<resource>{escape(resource)}</resource>"
        answer = await self.ask(stanza("iq", f"<bind xmlns='{BIND}'>{wish}</bind>", type="set", id="bind"))
        jid = answer.findtext(f".//{{{BIND}}}jid") or ""
        if not jid:
            raise ProtocolError(f"the server bound no resource: {describe_error(answer)}")
        lap("bind")
        return jid

    async def enable(self, *, resume: bool) -> StreamManagement:
        """Switch stream management on. Raises XmppError."""
        wish = " resume='true'" if resume else ""
        answer = await self.ask(f"<enable xmlns='{SM}'{wish}/>")
        if answer.tag != f"{{{SM}}}enabled":
            raise ProtocolError(f"stream management refused: {describe_error(answer)}")
        return StreamManagement(answer.get("id", ""), number(answer, "max", 0))

    async def resume(self, previous: str, handled: int) -> ET.Element:
        """Resume the session `previous`; return the server's `<resumed/>`. Raises ResumptionError, else XmppError."""
        answer = await self.ask(f"<resume xmlns='{SM}' previd={quoteattr(previous)} h='{handled}'/>")
        if answer.tag != f"{{{SM}}}resumed":
            raise ResumptionError(f"the server resumed nothing: {describe_error(answer)}")
        return answer

    async def ask(self, text: str) -> ET.Element:
        """Send one element and return the next that arrives. Raises XmppError."""
        request = ET.fromstring(text)  # noqa: S314 - our own text
        if local_name(request) in STANZAS:
            self.sent[local_name(request)] += 1
        await self._transport.send(text)
        answer = await self._transport.receive()
        if answer is None or answer.tag == f"{{{STREAMS}}}error":
            said = "" if answer is None else ": " + describe_error(answer)
            raise ConnectionEndedError(f"the server closed the stream{said}")
        if local_name(answer) in STANZAS:
            self.received[local_name(answer)] += 1
        return answer


def _encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _decode(text: str | None) -> str:
    try:
        return base64.b64decode(text or "", validate=True).decode()
    except ValueError:  # binascii.Error and UnicodeDecodeError are
        raise ProtocolError("the server sent SASL data that is not base64") from None
