"""One request to a provider and its answer, on one connection or on two. It does no I/O."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence


class Request(NamedTuple):
    """A request: its header fields, pseudo-header fields first, and its body."""

    fields: Sequence[tuple[str, str]]
    body: bytes


Compose: TypeAlias = "Callable[[], Request]"


class Response(NamedTuple):
    """A provider's answer: status, header fields (lower case names) and body."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> dict[str, Any]:
        """Return the body as a JSON object; empty if it is none."""
        try:
            parsed = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return parsed if isinstance(parsed, dict) else {}

    @property
    def retry_after(self) -> float | None:
        """Seconds to wait (RFC 9110, 10.2.3: a number or a date); None without a readable header."""
        text = self.headers.get("retry-after", "")
        if text.isascii() and text.isdecimal():
            return float(text[:9])
        try:
            return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
        except (ValueError, TypeError, OverflowError):  # TypeError: a date without its zone
            return None


UNPROCESSED = ("refused_stream", "no_window")  # RFC 9113, 8.7; the body was never sent whole


class LostError(Exception):
    """A request that gets no answer, or none in time.

    Args:
        reason: one of UNPROCESSED, connection_lost, ping_timeout, protocol_error, stream_reset, or no_answer (on its
            only connection, or while a newer one gets answers); if it was never sent, why not.
        sent: True if it was sent whole, so that the provider may have processed it.
    """

    def __init__(self, reason: str, *, sent: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.sent = sent


@dataclass(frozen=True)
class End:
    """Why a connection takes no more requests.

    Args:
        reason: goaway, stream_ids, no_answer, no_room, refused (by an answer that speaks of the connection), or why it
            was lost.
        code: the name of a GOAWAY's error code, else empty.
        said: the text in a GOAWAY, without anything that could be a secret.
    """

    reason: str
    code: str = ""
    said: str = ""


class Carrier(Protocol):
    """A connection, as far as an exchange knows it."""

    def abandon(self, exchange: Exchange) -> None:
        """Cancel an exchange whose answer nobody waits for."""

    def leave(self, end: End) -> None:
        """Take no more requests."""


@dataclass(eq=False, slots=True)
class Exchange:
    """One request on its way to one answer; while a connection is in doubt, on two connections at once.

    Args:
        compose: makes the request at the moment when it is sent, so that its times are right.
        answer: the Response and the connection that brought it, or LostError.
        queued: the loop's time when it began to wait for a connection.
        deadline: the loop's time after which it must not be sent.
        patience: seconds without any answer after which its connection is in doubt.
        sent: True if the whole request was sent.
        processed: True if a connection that it was lost with may have brought it to the provider.
        carriers: the connections that carry it, each with its stream id.
    """

    compose: Compose
    answer: asyncio.Future[tuple[Response, Carrier]]
    queued: float
    deadline: float
    patience: float
    sent: bool = False
    processed: bool = False
    carriers: dict[Carrier, int] = field(default_factory=dict)

    @property
    def waits(self) -> bool:
        """True while there is neither an answer nor a loss."""
        return not self.answer.done()

    def lose(self, connection: Carrier, reason: str) -> None:
        """Note that no answer will come on this connection; if no other connection carries it, fail it."""
        self.carriers.pop(connection, None)
        self.processed |= self.sent and reason not in UNPROCESSED
        if self.waits and not self.carriers:
            self.answer.set_exception(LostError(reason, sent=self.processed))

    def complete(self, connection: Carrier, response: Response) -> None:
        """Hand over the answer; one that is not good only if no other connection may still bring a good one."""
        self.carriers.pop(connection, None)
        if self.waits and (response.status == 200 or not self.carriers):  # noqa: PLR2004 - HTTP's
            self.answer.set_result((response, connection))
