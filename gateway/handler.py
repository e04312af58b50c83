"""Delivers the pushes of one provider: deadlines, queue, tries and counts. It speaks no protocol.

It has no circuit breaker on purpose. While a provider answers only some requests, a breaker would refuse calls that
another try would have delivered; `make loss` measures the pushes lost in such outages.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
from typing import TYPE_CHECKING, Protocol

from gateway.answers import Fault, Meaning
from gateway.exchange import End, LostError, Request, Response
from gateway.metrics import HandlerMetrics, Status
from gateway.push import Kind, Outcome, Purpose, Push, Result

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.channel import Channel
    from gateway.tokens import Minted, Token
    from toolkit.histogram import Histogram

QUEUE = 1000  # pushes of one handler at a time, waiting ones included; each holds some 25 KiB of connection and task
QUEUE_MESSAGES = 800  # of which messages: the rest is kept for calls
BACKOFF_FIRST = 0.2  # seconds; doubled with every try
BACKOFF_MOST = {Kind.CALL: 2.0, Kind.MESSAGE: 5.0}
# Tokens in a row that are unregistered for an answer that may also mean wrong settings. With a higher limit, a mistake
# of Apple or Google or in the settings could remove everybody's registrations.
DOUBTS = 2
FAULTS = 5  # answers in a row that blame the provider: it is failing
FAULTS_AGE = 30.0  # seconds after the last of them, the provider's health is unknown

_log = logging.getLogger(__name__)


class Provider(Protocol):
    """What differs between APNs and FCM."""

    def compose(self, push: Push, minted: Minted, remaining: float) -> Request:
        """Return the request for a push that is worth `remaining` more seconds."""

    def understand(self, response: Response, push: Push) -> Meaning:
        """Return the meaning of an answer."""


class _Laps:
    """Divides a push's time, from its arrival on, among the stages: each moment counts in exactly one.

    Args:
        stages: where it is counted.
        ended: the loop's time when the last stage ended.
    """

    def __init__(self, stages: Mapping[str, Histogram], ended: float) -> None:
        self._stages = stages
        self._time = asyncio.get_running_loop().time
        self.ended = ended

    def end(self, stage: str) -> float:
        """Count the time since the last stage as this one; returns the loop's time."""
        now = self._time()
        self._stages[stage].observe(now - self.ended)
        self.ended = now
        return now


class Handler:
    """Delivers the pushes of one provider; they never wait for the other provider.

    Args:
        name: the handler's label, voip or fcm.
        provider: APNs or FCM.
        channel: the way there.
        token: the access token.
        metrics: this handler's.
    """

    def __init__(self, name: str, provider: Provider, channel: Channel, token: Token, metrics: HandlerMetrics) -> None:
        self.name = name
        self.channel = channel
        self.token = token
        self.metrics = metrics
        self._canaries = HandlerMetrics(name)  # theirs go here and are not shown, but for their outcomes
        self._provider = provider
        self._faults = 0  # in a row
        self._last_fault = 0.0
        # Answers that blame the token or the settings since the provider last accepted a token. At the start and after
        # a reload this is DOUBTS: the settings are suspect.
        self._doubts = DOUBTS

    @property
    def ready(self) -> bool:
        """True with a live connection and a valid access token: a push that arrives now is sent at once."""
        return self.channel.opened is not None and self.token.current is not None

    @property
    def works(self) -> bool:
        """True if it is ready and the provider answers without one fault after another."""
        failing = self._faults >= FAULTS and asyncio.get_running_loop().time() - self._last_fault < FAULTS_AGE
        return self.ready and not failing and not self.channel.in_doubt

    def status(self) -> Status:
        """Return what the gauges show."""
        opened = self.channel.opened
        return Status(
            works=self.works,
            credentials=self.token.current is not None and not self.token.broken,
            connection_age=None if opened is None else asyncio.get_running_loop().time() - opened,
            token_age=self.token.age,
            key_private=self.token.key_private,
        )

    def reload(self) -> None:
        """Read the key file again."""
        self._doubts = DOUBTS
        self.token.reload()

    async def push(self, push: Push) -> Result:
        """Deliver a push by its deadline."""
        metrics = self.metrics if push.purpose is Purpose.USER else self._canaries
        if not self.token.usable:
            result = Result(Outcome.UNAVAILABLE, "credentials")
        elif metrics.inflight >= (QUEUE if push.kind is Kind.CALL else QUEUE_MESSAGES):
            result = Result(Outcome.UNAVAILABLE, "queue_full")
        else:
            metrics.inflight += 1
            try:
                result = await self._deliver(push, metrics)
            finally:
                metrics.inflight -= 1
        metrics.count(push.kind, result)
        self._log(push, result)
        return result

    async def _deliver(self, push: Push, metrics: HandlerMetrics) -> Result:
        """Try until there is a result."""
        laps = _Laps(metrics.stages, push.arrived)
        reason, refused, late = "deadline", "", Outcome.EXPIRED
        for attempt in itertools.count():
            if laps.end("queue") >= push.deadline:
                break
            minted = await self.token.get(push.deadline, other_than=refused)
            laps.end("token")
            if minted is None:
                if late is Outcome.EXPIRED and not self.token.usable:
                    late = Outcome.UNAVAILABLE
                return Result(late, reason if refused else "credentials")
            try:
                tried = await self._try(push, minted, metrics, laps)
            except LostError as lost:
                # Once it may have arrived, nothing but a good answer can say whether it did.
                late = Outcome.FAILED if lost.sent else late
                # Only a reset says something about the provider's health; the channel renews lost connections.
                if lost.reason == "stream_reset":
                    self._blame(faulty=True)
                tried = Meaning(Fault.CONNECTION, lost.reason)
            if isinstance(tried, Result):
                return tried
            reason = tried.word
            if tried.fault is Fault.ACCESS:
                refused = minted.token
            backoff = min(BACKOFF_MOST[push.kind], BACKOFF_FIRST * 2**attempt)
            pause = tried.wait + backoff * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
            if laps.ended + pause >= push.deadline:
                break
            metrics.retry(reason)
            await asyncio.sleep(pause)
        return Result(late, reason)

    async def _try(self, push: Push, minted: Minted, metrics: HandlerMetrics, laps: _Laps) -> Result | Meaning:
        """Send a push once; returns what became of it, or why another try may help.

        Raises:
            LostError: there is no answer.
        """
        loop = asyncio.get_running_loop()
        stage = "connect"

        def compose() -> Request:
            nonlocal stage
            if stage == "connect":  # the first time; it may be sent on a second connection, too
                laps.end(stage)
                stage = "provider"
            return self._provider.compose(push, minted, push.deadline - loop.time())

        try:
            response, carrier = await self.channel.request(
                compose, urgent=push.kind is Kind.CALL, deadline=push.deadline
            )
        finally:
            laps.end(stage)
        meaning = self._provider.understand(response, push)
        self._blame(faulty=meaning.fault is Fault.PROVIDER)
        if meaning.fault is Fault.CONNECTION:
            carrier.leave(End("refused", said=meaning.word))
        if meaning.fault.passes or (meaning.fault is Fault.ACCESS and self.token.refuse(minted.token)):
            return meaning
        metrics.latency.observe(1000 * (laps.ended - push.arrived))
        return Result(self._outcome(meaning.fault), meaning.word, meaning.since)

    def _outcome(self, fault: Fault) -> Outcome:
        """Return the result of a push after its final answer."""
        if fault in (Fault.NONE, Fault.TOKEN):
            self._doubts = 0
        match fault:
            case Fault.NONE:
                return Outcome.SENT
            case Fault.TOKEN:
                return Outcome.UNREGISTERED
            case Fault.TOKEN_OR_SETTINGS:
                self._doubts += 1
                return Outcome.UNREGISTERED if self._doubts <= DOUBTS else Outcome.REJECTED
        return Outcome.REJECTED

    def _blame(self, *, faulty: bool) -> None:
        self._faults = self._faults + 1 if faulty else 0
        if faulty:
            self._last_fault = asyncio.get_running_loop().time()

    def _log(self, push: Push, result: Result) -> None:
        level = logging.INFO if result.outcome in (Outcome.SENT, Outcome.UNREGISTERED) else logging.WARNING
        if _log.isEnabledFor(level):
            fields = {
                "handler": self.name,
                "type": push.kind.value if push.purpose is Purpose.USER else push.purpose.name.lower(),
                "token": push.suffix,
                "outcome": str(result.outcome),
                "ms": round(1000 * (asyncio.get_running_loop().time() - push.arrived), 1),
            }
            if result.reason:
                fields["reason"] = result.reason
            _log.log(level, "push", extra=fields)
