"""Asks each gateway for one call and one message a second, each to a phone of its own, and books what became of it.

So it is known of every push whether it was lost or doubled, which the bridge's pushes do not tell.
"""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import aiohttp

from lab.chaos.table import heals
from lab.servers.gateway import SECRET

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from lab.chaos.judge import Episode
    from lab.servers.gateway import PushGateway

EVERY = 1.0  # seconds
_PATIENCE = 70.0  # seconds; a message is worth 60


@dataclass
class Asked:
    """One push that was asked for.

    Args:
        gateway: whom, by its name in the lab.
        node: the phone, which nobody else calls.
        began: when, in seconds since the epoch.
        ended: when there was an answer, or none to be had any more.
        outcome: the gateway's word for it (header Push-Outcome); None if it gave no answer.
    """

    gateway: str
    node: str
    began: float
    ended: float = 0.0
    outcome: str | None = None


class Caller(threading.Thread):
    """Runs from entering to leaving; then every push has ended.

    Args:
        gateways: whom to ask.
    """

    def __init__(self, gateways: Sequence[PushGateway]) -> None:
        super().__init__(name="caller")
        self.asked: list[Asked] = []
        self._gateways = gateways
        self._over = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.finish()

    def finish(self) -> None:
        """Ask for no more, and wait for the answers."""
        self._over.set()
        self.join()

    def run(self) -> None:
        """Ask, each second."""
        asyncio.run(self._run())

    async def _run(self) -> None:
        timeout = aiohttp.ClientTimeout(total=_PATIENCE)
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as http, asyncio.TaskGroup() as group:
            while not self._over.is_set():
                for gateway in self._gateways:
                    call, message = uuid.uuid4().hex + uuid.uuid4().hex, f"chaos:{uuid.uuid4().hex}"
                    group.create_task(self._ask(http, gateway, "call", call))
                    group.create_task(self._ask(http, gateway, "message", message))
                await asyncio.sleep(EVERY)

    async def _ask(self, http: aiohttp.ClientSession, gateway: PushGateway, kind: str, node: str) -> None:
        asked = Asked(gateway.name, node, time.time())
        self.asked.append(asked)
        try:
            push = {"secret": SECRET, "type": kind, "node": node}
            async with http.post(f"{gateway.url}/push", json=push) as answer:
                asked.outcome = answer.headers.get("Push-Outcome", str(answer.status))
        except (aiohttp.ClientError, OSError, TimeoutError):
            pass  # a gateway that is down; whether the push reached anybody, the providers know
        asked.ended = time.time()


@dataclass(frozen=True)
class Books:
    """What became of the pushes asked for.

    Args:
        asked: how many there were.
        sent: how many the gateways said were sent.
        arrived: how many of all arrived.
        repeated: arrived again under the same apns-id, while their connection was lost: a try again, as designed.
        wrong: what cannot be, in words.
    """

    asked: int
    sent: int
    arrived: int
    repeated: int
    wrong: list[str]


def audit(asked: Iterable[Asked], received: Iterable[Mapping[str, Any]], episodes: Sequence[Episode]) -> Books:
    """Compare what was asked, what the gateways said of it, and what the providers accepted.

    Args:
        asked: by the caller.
        received: by the providers: node, id (APNs only) and accepted of each push.
        episodes: the faults, for what they excuse.
    """
    arrivals: dict[str, list[str]] = defaultdict(list)
    for arrival in received:
        if arrival["accepted"]:
            arrivals[arrival["node"]].append(arrival.get("id", ""))
    pushes = list(asked)
    wrong, repeated = [], 0
    for push in pushes:
        ids = arrivals[push.node]
        troubled = any(_troubles(episode, push) for episode in episodes)
        what = f"a push to {push.gateway} (outcome {push.outcome})"
        if push.outcome == "sent" and not ids:
            wrong.append(f"{what} did not arrive")
        if len(set(ids)) > 1:
            wrong.append(f"{what} arrived under {len(set(ids))} names")
        elif len(ids) > 1 and not troubled:
            wrong.append(f"{what} arrived {len(ids)} times, with nothing broken")
        elif len(ids) > 1:
            repeated += 1
        if push.outcome != "sent" and not troubled:
            wrong.append(f"{what} was lost, with nothing broken")
    sent = sum(push.outcome == "sent" for push in pushes)
    return Books(len(pushes), sent, sum(bool(arrivals[push.node]) for push in pushes), repeated, wrong)


def _troubles(episode: Episode, push: Asked) -> bool:
    """Whether a fault was in a push's way; a gateway or its providers need a moment after the mending."""
    concerned = episode.fault.server in ("providers", push.gateway)
    return concerned and episode.began <= push.ended and push.began <= episode.mended + heals("push_provider_state")
