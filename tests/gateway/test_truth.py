"""Thousands of pushes through providers that misbehave at random: what they got is what the gateway says."""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.timing import Timing
from lab.fakes import apns, fcm
from lab.fakes import http2 as frames
from lab.fakes.http2 import REFUSED_STREAM

if TYPE_CHECKING:
    from collections.abc import Callable

    from lab.fakes.apns import FakeApns
    from lab.fakes.fcm import FakeFcm
    from lab.fakes.http2 import Request, ServerConnection
    from tests.gateway.conftest import Start

PUSHES = int(os.environ.get("PUSHES", "4000"))
CALLERS = 150
DEAD, REFUSED = "dead", "refused"  # what a provider thinks of some tokens


@dataclass
class Chaos:
    """Answers at random, and keeps what it did with each token."""

    accept: Callable[[Request], None]
    refuse: Callable[..., None]
    words: tuple[str, str]  # for a dead token and for one that is refused
    chance: random.Random
    accepted: Counter[str] = field(default_factory=Counter)
    carrier: dict[str, ServerConnection] = field(default_factory=dict)  # the connection it was accepted on last
    needless: list[str] = field(default_factory=list)  # accepted again though the first answer could still be read

    def answer(self, request: Request, token: str, fate: str) -> None:  # noqa: C901 - a list of what may happen
        if fate == DEAD:
            self.refuse(request, *((410, self.words[0]) if self.refuse is apns.refuse else (404, self.words[0])))
            return
        if fate == REFUSED:
            self.refuse(request, 400 if self.refuse is apns.refuse else 403, self.words[1])
            return
        draw = self.chance.random()
        if draw < 0.80:
            self._accepted(request, token)
            self.accept(request)
        elif draw < 0.86:
            self._accepted(request, token)
            asyncio.get_running_loop().call_later(self.chance.random() * 0.3, self._late, request)
        elif draw < 0.91:
            self.refuse(request, 503, "ServiceUnavailable" if self.refuse is apns.refuse else "UNAVAILABLE")
        elif draw < 0.94:
            request.reset(REFUSED_STREAM)
        elif draw < 0.96:
            request.reset()
        elif draw < 0.97:
            request.respond(502, b"<html>")
        elif draw < 0.98:  # accepted, and the rest of the answer is lost
            self._accepted(request, token)
            request.connection.send(frames.HEADERS, frames.END_HEADERS, request.stream_id, b"\x88")
            request.reset()
        elif draw < 0.995:
            self.refuse(request, 500, "InternalServerError" if self.refuse is apns.refuse else "INTERNAL")
        elif draw < 0.998:
            self._accepted(request, token)
            self.accept(request)
            request.connection.goaway()
        else:
            request.connection.kill()  # and with it the answers that are on their way

    def _accepted(self, request: Request, token: str) -> None:
        """Note it. Only the end of a connection makes it impossible to know what became of a push."""
        before = self.carrier.get(token)
        if before is not None and before.open:
            self.needless.append(token)
        self.accepted[token] += 1
        self.carrier[token] = request.connection

    def _late(self, request: Request) -> None:
        if request.connection.open:
            self.accept(request)


async def test_what_providers_got_is_what_the_gateway_says(start: Start, apple: FakeApns, google: FakeFcm) -> None:
    """Loses none and doubles none that need not be. PUSHES=100000 makes it a soak."""
    chance = random.Random(13)
    # The patience of production: a busy machine must not make the gateway give up connections that are merely slow.
    caller = await start(workings={"timing": Timing()})
    ios = Chaos(apns.accept, apns.refuse, ("Unregistered", "PayloadTooLarge"), random.Random(1))
    android = Chaos(fcm.accept, fcm.refuse, ("UNREGISTERED", "PERMISSION_DENIED"), random.Random(2))
    fates: dict[str, str] = {}
    calls: set[str] = set()

    def at_apple(request: Request) -> None:
        token = request.headers[":path"].removeprefix("/3/device/")
        ios.answer(request, token, fates[token])
        apple.received.clear()

    def at_google(request: Request) -> None:
        token = json.loads(request.body)["message"]["token"]
        android.answer(request, token, fates[token])
        google.received.clear()

    apple.answer, google.answer = at_apple, at_google
    outcomes: dict[str, str | None] = {}
    numbers = iter(range(PUSHES))

    async def push() -> None:
        for number in numbers:
            kind = chance.choice(["call", "message"])
            token = f"{number:064x}" if kind == "call" and chance.random() < 0.7 else f"android:{number:040x}"
            fates[token] = chance.choices(["", DEAD, REFUSED], [96, 2, 2])[0]
            calls.update([token] if kind == "call" else [])
            outcomes[token] = (await caller.push(token, kind)).outcome

    await asyncio.gather(*(push() for _ in range(CALLERS)))
    accepted = ios.accepted + android.accepted
    expected = {"": "sent", DEAD: "unregistered", REFUSED: "rejected"}
    assert {token: outcomes[token] for token in outcomes if outcomes[token] != expected[fates[token]]} == {}
    assert {token for token, outcome in outcomes.items() if outcome == "sent"} == set(accepted)
    assert ios.needless + android.needless == []
    counts = await caller.counts()
    sent = counts["push_voip_sent_total"] + counts["push_fcm_sent_total"]
    failed = counts["push_voip_failed_total"] + counts["push_fcm_failed_total"]
    unregistered = sum(value for name, value in counts.items() if name.startswith("push_unregistered"))
    said = Counter(outcomes.values())
    rejected = Counter("fcm" if token.startswith("android") else "voip" for token in calls if fates[token] == REFUSED)
    assert rejected == {h: counts[f'push_calls_failed_total{{handler="{h}"}}'] for h in ("voip", "fcm")}
    assert (sent, failed, unregistered) == (said["sent"], said["rejected"], said["unregistered"])
    assert sum(said.values()) == PUSHES
