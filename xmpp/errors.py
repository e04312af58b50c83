"""The client's errors, one type per kind of failure; messages are one line without address, name or secret."""

from typing import ClassVar


class XmppError(Exception):
    """An operation failed; the message says which one and why.

    Attributes:
        reason: one word for the kind of failure, the same for every error of a type.
    """

    reason: ClassVar[str] = "protocol"


class DeadlineError(XmppError):
    """The other side did not answer in time."""

    reason = "timeout"


class NameNotFoundError(XmppError):
    """The server's name cannot be resolved."""

    reason = "dns"


class RefusedError(XmppError):
    """Nothing accepts connections at the address, or the network does not reach it."""

    reason = "refused"


class TlsError(XmppError):
    """The TLS handshake failed, or the certificate is not the expected one."""

    reason = "tls"


class UpgradeError(XmppError):
    """The server answered the WebSocket handshake with another status than 101.

    Attributes:
        status: the HTTP status it answered with; 0 if the handshake went wrong in another way.
    """

    reason = "rejected"

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class AuthenticationError(XmppError):
    """The server refused the name or the password."""

    reason = "auth"


class ConnectionEndedError(XmppError):
    """The connection has ended, on either side."""

    reason = "disconnected"


class ProtocolError(XmppError):
    """The server sent something that the protocol does not allow, or more than the client accepts."""

    reason = "protocol"


class StanzaError(XmppError):
    """The server, or the other side, answered a stanza with an error.

    Attributes:
        condition: the defined condition (RFC 6120 8.3.3), for example "service-unavailable".
    """

    reason = "unavailable"

    def __init__(self, message: str, condition: str = "") -> None:
        super().__init__(message)
        self.condition = condition


class ResumptionError(XmppError):
    """The server no longer has the session, or refuses to resume it."""

    reason = "not_resumed"
