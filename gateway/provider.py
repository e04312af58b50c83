"""One try to send a push: a token, a request, the meaning of its answer. Trying again is `delivery`'s."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from gateway.channel import Channel, LateError
from gateway.exchange import LostError, Response
from gateway.push import Answer, Kind, Outcome, Push

if TYPE_CHECKING:
    from gateway.metrics import HandlerMetrics
    from gateway.tokens import Minted, Token


class Dialect(Protocol):
    """What is particular to APNs or FCM."""

    def compose(self, push: Push, minted: Minted, remaining: float) -> tuple[bytes, bytes]:
        """The header block and body for a push that is worth `remaining` more seconds."""

    def understand(self, response: Response) -> Answer:
        """The meaning of an answer."""


class Provider:
    """APNs or FCM.

    Args:
        dialect: which.
        channel: the way there.
        token: what opens the door.
        metrics: the handler's.
    """

    def __init__(self, dialect: Dialect, channel: Channel, token: Token, metrics: HandlerMetrics) -> None:
        self.token = token
        self.channel = channel
        self._dialect = dialect
        self._metrics = metrics

    @property
    def usable(self) -> bool:
        """False if nothing can be sent until a person mends the credentials."""
        return self.token.usable

    @property
    def ready(self) -> bool:
        """True with a live connection and a valid token."""
        return self.channel.opened is not None and self.token.current is not None

    async def send(self, push: Push) -> Answer:
        """One try, over by the push's deadline. An answer without an outcome: try again."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        minted = await self.token.get(push.deadline)
        if minted is None:
            return Answer(Outcome.EXPIRED if self.usable else Outcome.UNAVAILABLE, "credentials", faulty=None)

        def compose() -> tuple[bytes, bytes]:
            return self._dialect.compose(push, minted, push.deadline - loop.time())

        try:
            response, sent = await self.channel.request(compose, urgent=push.kind is Kind.CALL, deadline=push.deadline)
        except LateError as late:
            return Answer(Outcome.FAILED if late.sent else Outcome.EXPIRED, late.reason, faulty=late.sent or None)
        except LostError as lost:
            # Only a reset tells about the provider's health; a connection is the channel's to renew, at its own pace.
            return Answer(None, lost.reason, faulty=True if lost.reason == "stream_reset" else None)
        now = loop.time()
        self._metrics.stages["connect"].observe(sent - began)
        self._metrics.stages["provider"].observe(now - sent)
        answer = self._dialect.understand(response)
        if answer.token_refused and self.token.refuse(minted.token):
            return Answer(None, answer.reason, faulty=True)
        if answer.outcome is not None:
            self._metrics.latency.observe(1000 * (now - push.arrived))
        return answer
