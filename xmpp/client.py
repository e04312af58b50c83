"""What a user does in an XMPP session: presence, messages, calls, push registrations. It keeps no roster."""

from datetime import UTC, datetime, timedelta
from xml.sax.saxutils import escape, quoteattr

from xmpp.login import TransportName
from xmpp.session import Management, Show, XmppSession


class XmppClient(XmppSession):
    """One user on one device; the same object can resume its session on another transport."""

    async def login(
        self,
        transport: TransportName = "websocket",
        *,
        management: Management = "resumable",
        show: Show = "available",
    ) -> None:
        """Open the session and send presence (none if `show` is unavailable). Raises as `open` does."""
        await self.open(transport, management=management)
        if show != "unavailable":
            await self.presence(show)

    async def presence(self, show: Show = "available", priority: int = 0) -> None:
        """Broadcast presence and wait for the server's reflection of it; the highest priority gets the messages."""
        seen = self.received["presence"]
        self.shows[show] += 1
        payload = "" if show in ("available", "unavailable") else f"<show>{show}</show>"
        payload += f"<priority>{priority}</priority>" if priority else ""
        await self.send_stanza("presence", payload, type="unavailable" if show == "unavailable" else "")
        await self.wait_until(lambda: self.received["presence"] > seen, "the reflected presence")

    async def message(self, to: str, body: str = "Hello") -> None:
        """Send a chat message to a bare or full address; does not wait for its delivery."""
        await self.send_message(to, f"<body>{escape(body)}</body>")

    async def send_message(self, to: str, payload: str, identifier: str = "", type_: str = "chat") -> None:
        """Send a message with any content, as XML; does not wait for its delivery."""
        await self.send_stanza("message", payload, type=type_, to=to, id=identifier or f"m{next(self.ids)}")

    async def propose_call(self, to: str, *, seconds_ago: float = 0.0) -> None:
        """Let the other side ring (XEP-0353 `<propose/>`); `seconds_ago` adds the stamp of a server that delayed it."""
        number = next(self.ids)
        stamp = (datetime.now(UTC) - timedelta(seconds=seconds_ago)).strftime("%Y-%m-%dT%H:%M:%SZ")
        delay = f"<delay xmlns='urn:xmpp:delay' stamp='{stamp}'/>" if seconds_ago else ""
        await self.send_stanza(
            "message",
            f"<propose xmlns='urn:xmpp:jingle-message:0' id='call{number}'>"
            f"<description xmlns='urn:xmpp:jingle:apps:rtp:1' media='audio'/></propose>{delay}",
            type="chat",
            to=to,
            id=f"m{number}",
        )

    async def enable_carbons(self) -> None:
        """Have the server copy what the user's other devices send and get (XEP-0280)."""
        await self.request("set", "<enable xmlns='urn:xmpp:carbons:2'/>")

    async def enable_push(self, service: str, node: str, *, secret: str = "", push_type: str = "") -> None:
        """Register a push service for this device (XEP-0357), with the app's publish options."""
        options = [("FORM_TYPE", "http://jabber.org/protocol/pubsub#publish-options")]
        options += [(name, value) for name, value in (("secret", secret), ("type", push_type)) if value]
        fields = "".join(f"<field var='{name}'><value>{escape(value)}</value></field>" for name, value in options)
        await self.request(
            "set",
            f"<enable xmlns='urn:xmpp:push:0' jid={quoteattr(service)} node={quoteattr(node)}>"
            f"<x xmlns='jabber:x:data' type='submit'>{fields}</x></enable>",
        )

    async def disable_push(self, service: str, node: str) -> None:
        """Withdraw a push registration."""
        await self.request("set", f"<disable xmlns='urn:xmpp:push:0' jid={quoteattr(service)} node={quoteattr(node)}/>")
