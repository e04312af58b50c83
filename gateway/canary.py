"""Pushes to the operator's own test phones, at set intervals and counted apart from users' pushes.

A canary tells what no count of users' pushes can: that a push sent now to a phone known to work is accepted, while
nobody else calls. Its app logs in as a synthetic account; `prosody_canary_logins_total` counts that.
"""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from typing import TYPE_CHECKING

from gateway.push import Kind, Outcome, Purpose, Push

if TYPE_CHECKING:
    from gateway.handler import Handler

KINDS = {"voip": Kind.CALL, "fcm": Kind.MESSAGE}
DRY_RUN_EVERY = 300.0  # seconds at most
VALIDATED = "validated"


class Canary:
    """The canary of one handler.

    Args:
        handler: sends its pushes.
        token: the test phone's, at the handler's provider.
        every: seconds between two pushes.
    """

    def __init__(self, handler: Handler, token: str, every: float) -> None:
        self._handler = handler
        self._token = token
        self._every = every
        for outcome in (*Outcome, *((VALIDATED,) if handler.name == "fcm" else ())):
            handler.metrics.canaries[str(outcome)] = 0

    async def wake(self) -> None:
        """Wake the test phone again and again until cancelled."""
        await self._repeat(Purpose.CANARY, self._every)

    async def dry_run(self) -> None:
        """Have FCM check a push that it does not deliver (Firebase, "projects.messages.send": validate_only)."""
        await self._repeat(Purpose.DRY_RUN, min(DRY_RUN_EVERY, self._every))

    async def _repeat(self, purpose: Purpose, every: float) -> None:
        """Push at a steady interval. The first waits for a random part of it, so that nodes do not push together."""
        pause = every * random.random()  # noqa: S311 - jitter, not a secret
        while True:
            await asyncio.sleep(pause)
            pause = every
            kind = KINDS[self._handler.name]
            arrived, expires = asyncio.get_running_loop().time(), time.time() + kind.worth
            push = Push(self._token, kind, arrived, arrived + kind.worth, expires, str(uuid.uuid4()), purpose)
            outcome = (await self._handler.push(push)).outcome
            dry = purpose is Purpose.DRY_RUN and outcome is Outcome.SENT
            self._handler.metrics.canaries[VALIDATED if dry else str(outcome)] += 1
