"""One request to a provider and its answer, on whatever connection. It does no I/O."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

    from gateway.http2 import Connection


@dataclass(frozen=True, slots=True)
class Response:
    """A provider's answer: status, header fields (lower case names) and body."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> dict[str, Any]:
        """The body as a JSON object; empty if it is none."""
        try:
            parsed = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return parsed if isinstance(parsed, dict) else {}

    @property
    def retry_after(self) -> float:
        """Seconds to wait (RFC 9110, 10.2.3: a number or a date); 0.0 without a readable header."""
        text = self.headers.get("retry-after", "")
        if text.isascii() and text.isdecimal():
            return float(text[:9])
        try:
            return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
        except (ValueError, TypeError, OverflowError):  # TypeError: a date without its zone
            return 0.0


class LostError(Exception):
    """The request was under way and will get no answer.

    Args:
        reason: connection_lost, ping_timeout, protocol_error, stream_reset, or refused_stream: never processed (RFC
            9113, 8.7).
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(eq=False, slots=True)
class Exchange:
    """One request on its way to one answer.

    Args:
        block: the header fields, encoded by `frames.field`, pseudo-header fields first.
        body: what follows them.
        answer: the Response, or LostError.
        opened: the loop's time when it was sent, None before.
    """

    block: bytes
    body: bytes
    answer: asyncio.Future[Response]
    opened: float | None = None
    connection: Connection | None = None
    stream_id: int = 0
    received: dict[str, str] = field(default_factory=dict)
    content: bytes = b""

    def fail(self, reason: str) -> None:
        """Tell whoever waits that no answer will come."""
        if not self.answer.done():
            self.answer.set_exception(LostError(reason))

    def complete(self) -> None:
        """Hand over what was received."""
        if not self.answer.done():
            status = self.received.get(":status", "")
            number = int(status) if status.isascii() and status.isdecimal() else 0
            self.answer.set_result(Response(number, self.received, self.content))
