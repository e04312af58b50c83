"""A login through the users' door that ends on the chosen node, or says that it did not. It keeps no session."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporters.synthetic.leg import Way
from toolkit.names import Names
from xmpp.client import XmppClient
from xmpp.errors import UpgradeError, XmppError
from xmpp.transport import Endpoints
from xmpp.websocket import http_session

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from typing import Literal
    from xml.etree.ElementTree import Element

    import aiohttp

    from exporters.synthetic.config import Node, Settings
    from exporters.synthetic.marks import Marks
    from xmpp.session import Show

WANTED, SERVED = "X-Probe-Node", "X-Served-By"  # headers: prometheus/snippets/haproxy.cfg
_NO_NODE = 503
PATIENCE = 5.0  # seconds for every single operation of a session


class WrongNodeError(XmppError):
    """Another node served the connection than the one that was asked for."""

    reason = "wrong_node"


def reason_of(error: XmppError) -> str:
    """Return the result of a journey that ended with this error, one of `names.RESULTS`."""
    if isinstance(error, UpgradeError) and error.status == _NO_NODE:
        return "unavailable"
    return error.reason


class Door:
    """Logs test users in.

    Args:
        settings: of the exporter.
        marks: sign the resource of each session.
        tls: trusts who may answer.

    Attributes:
        way: how servers are reached, relays too.
    """

    def __init__(self, settings: Settings, marks: Marks, tls: ssl.SSLContext) -> None:
        self._settings = settings
        self._marks = marks
        self.way = Way(Names(), tls)
        self._http: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Prepare the HTTP side; nothing connects yet."""
        self._http = http_session(names=self.way.names)

    async def close(self) -> None:
        """Let go of the HTTP side."""
        if self._http is not None:
            await self._http.close()

    def client(self, node: Node, user: str, on_stanza: Callable[[Element], None] | None = None) -> XmppClient:
        """Return a client for this node that is not connected yet, with a resource nobody has had."""
        assert self._http is not None, "the door is not open"
        server = Endpoints(
            domain=self._settings.domain,
            websocket_url=node.url,
            tls=self.way.tls,
            server_name=node.server_name,
            headers={WANTED: node.name} if node.chosen else {},
        )
        return XmppClient(
            server,
            user,
            self._settings.passwords[user],
            http=self._http,
            resource=self._marks.new(),
            timeout=PATIENCE,
            on_stanza=on_stanza,
        )

    async def login(
        self,
        client: XmppClient,
        node: Node,
        *,
        management: Literal["off", "resumable"] = "off",
        show: Show = "unavailable",
    ) -> None:
        """Log in over WebSocket, on this node. Raises WrongNodeError if another one answers, else XmppError."""
        try:
            await client.login(management=management, show="unavailable")
            self.check(client, node)
            if show != "unavailable":
                await client.presence(show)
        except BaseException:
            client.abort()
            raise

    @staticmethod
    def check(client: XmppClient, node: Node) -> None:
        """Raise WrongNodeError unless the connection is to this node, as far as its door tells."""
        if not node.chosen:
            return
        served = client.headers.get(SERVED)
        if served is None:
            raise WrongNodeError(f"the door does not say who serves: no header {SERVED}")
        if served != node.name:
            raise WrongNodeError("another node serves: the wanted one is down, or unknown to the door")
