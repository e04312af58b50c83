"""What every push goes through, whoever its provider is: deadline, queue, breaker, retries, counting.

No protocol is spoken here.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
from typing import TYPE_CHECKING

from gateway.breaker import Breaker
from gateway.collector import Status
from gateway.push import Answer, Kind, Outcome, Push

if TYPE_CHECKING:
    from gateway.metrics import HandlerMetrics
    from gateway.provider import Provider

QUEUE = 1000  # pushes of one handler at a time, waiting ones included; each holds some 25 KiB of connection and task
QUEUE_MESSAGES = 800  # of which messages: the rest is kept for calls
BACKOFF_FIRST = 0.2  # seconds; doubled with every try
BACKOFF_MOST = 5.0

_log = logging.getLogger(__name__)


class Delivery:
    """One handler: its pushes never wait for the other handler's.

    Args:
        name: the handler's label, voip or fcm.
        provider: sends one try.
        metrics: this handler's.
    """

    def __init__(self, name: str, provider: Provider, metrics: HandlerMetrics) -> None:
        self.name = name
        self.provider = provider
        self._metrics = metrics
        self._breaker = Breaker(self._moved)

    @property
    def ready(self) -> bool:
        """True if a push that arrives now can be sent at once."""
        return self.provider.ready and self._breaker.admits

    def status(self) -> Status:
        """What the gauges say now."""
        opened, token = self.provider.channel.opened, self.provider.token
        return Status(
            ready=self.ready,
            credentials=token.current is not None and not token.broken,
            connection_age=None if opened is None else asyncio.get_running_loop().time() - opened,
            token_age=token.age,
        )

    async def push(self, push: Push) -> Answer:
        """Deliver a push; the answer's outcome is never None."""
        if not self.provider.usable:
            answer = Answer(Outcome.UNAVAILABLE, "credentials")
        elif self._metrics.inflight >= (QUEUE if push.kind is Kind.CALL else QUEUE_MESSAGES):
            answer = Answer(Outcome.UNAVAILABLE, "queue_full")
        else:
            self._metrics.inflight += 1
            try:
                answer = await self._deliver(push)
            finally:
                self._metrics.inflight -= 1
        assert answer.outcome is not None
        self._count(answer)
        self._report(push, answer)
        return answer

    async def _deliver(self, push: Push) -> Answer:
        loop = asyncio.get_running_loop()
        reason = "deadline"
        began = push.arrived
        for attempt in itertools.count():
            if not await self._breaker.admit(push.deadline) or loop.time() >= push.deadline:
                break
            tried = loop.time()
            self._metrics.stages["queue"].observe(tried - began)
            answer = await self.provider.send(push)
            if answer.faulty is not None:
                self._breaker.record(tried, faulty=answer.faulty)
            if answer.outcome is not None:
                return answer
            reason = answer.reason
            backoff = min(BACKOFF_MOST, BACKOFF_FIRST * 2**attempt) * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
            pause = answer.retry_after + backoff
            began = loop.time()
            if began + pause >= push.deadline:
                break
            self._metrics.retry(reason)
            await asyncio.sleep(pause)
        return Answer(Outcome.EXPIRED, reason)

    def _count(self, answer: Answer) -> None:
        metrics = self._metrics
        if answer.outcome is Outcome.SENT:
            metrics.sent += 1
        elif answer.outcome is Outcome.UNREGISTERED:
            metrics.unregistered += 1
        else:
            metrics.fail(answer.reason)
            metrics.expired += answer.outcome is Outcome.EXPIRED

    def _moved(self, is_open: bool) -> None:  # noqa: FBT001 - a gauge's value
        self._metrics.breaker_open = is_open
        _log.warning("breaker open" if is_open else "breaker closed", extra={"handler": self.name})

    def _report(self, push: Push, answer: Answer) -> None:
        level = logging.INFO if answer.outcome in (Outcome.SENT, Outcome.UNREGISTERED) else logging.WARNING
        if _log.isEnabledFor(level):
            fields = {
                "handler": self.name,
                "type": push.kind.value,
                "token": push.suffix,
                "outcome": str(answer.outcome),
                "ms": round(1000 * (asyncio.get_running_loop().time() - push.arrived), 1),
            }
            if answer.reason:
                fields["reason"] = answer.reason
            _log.log(level, "push", extra=fields)
