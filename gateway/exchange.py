"""One request to a provider and its answer, on one connection or on two. It does no I/O."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias, cast

from hpack import NeverIndexedHeaderTuple

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence


def secret(name: str, value: str) -> tuple[str, str]:
    """Return a header field that no HPACK table may hold (RFC 7541, 7.1.3)."""
    return cast("tuple[str, str]", NeverIndexedHeaderTuple(name, value))


class Request(NamedTuple):
    """A request: its header fields, pseudo-header fields first, and its body."""

    fields: Sequence[tuple[str, str]]
    body: bytes


Compose: TypeAlias = "Callable[[], Request]"


@dataclass(frozen=True, slots=True)
class Response:
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


class LostError(Exception):
    """The request was under way and will get no answer.

    Args:
        reason: one of connection_lost, ping_timeout, protocol_error, stream_reset, no_answer (a newer connection gets
            answers, this one none), or one that says that the request was never processed: refused_stream (RFC 9113,
            8.7) or no_window (its body was never sent whole).
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


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
        answer: the Response, or LostError.
        queued: the loop's time when it began to wait for a connection.
        deadline: the loop's time after which it must not be sent.
        patience: seconds without any answer after which its connection is in doubt.
        sent: the loop's time when the whole request was first sent, None before.
        carriers: the connections that carry it, each with its stream id.
        answered_by: the connection that brought the answer.
    """

    compose: Compose
    answer: asyncio.Future[Response]
    queued: float
    deadline: float
    patience: float
    sent: float | None = None
    carriers: dict[Carrier, int] = field(default_factory=dict)
    answered_by: Carrier | None = None

    def lose(self, connection: Carrier, reason: str) -> None:
        """Note that no answer will come on this connection; if no other connection carries it, fail it."""
        self.carriers.pop(connection, None)
        if not self.carriers and not self.answer.done():
            self.answer.set_exception(LostError(reason))

    def complete(self, connection: Carrier, response: Response) -> None:
        """Hand over the answer."""
        self.carriers.pop(connection, None)
        if not self.answer.done():
            self.answered_by = connection
            self.answer.set_result(response)
