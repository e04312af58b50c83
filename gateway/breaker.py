"""The circuit breaker: while a provider is in trouble, one try at a time asks whether it is back, and the others wait.

It never fails a push by itself: a call whose provider is back within its 30 seconds still rings.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

FAULTS = 5  # in a row open the breaker
PAUSE_FIRST = 0.5  # seconds between probes; doubled with every fault, up to the next
PAUSE_MOST = 5.0


class Breaker:
    """Closed at first.

    Args:
        report: called with True when it opens and with False when it closes.
    """

    def __init__(self, report: Callable[[bool], None]) -> None:
        self._report = report
        self._faults = 0
        self._pause = PAUSE_FIRST
        self._asked_at = 0.0  # the loop's time of the last probe, or of the opening
        self._probe_at = 0.0  # and of the next
        self._closed = asyncio.Event()
        self._closed.set()

    @property
    def open(self) -> bool:
        """True unless tries flow freely."""
        return not self._closed.is_set()

    @property
    def admits(self) -> bool:
        """True if a try could be made now: freely, or as the next probe."""
        return not self.open or asyncio.get_running_loop().time() >= self._probe_at

    async def admit(self, deadline: float) -> bool:
        """Wait until a try may be made; False if that is not before `deadline` (the loop's time)."""
        loop = asyncio.get_running_loop()
        while self.open:
            now = loop.time()
            if now >= deadline:
                return False
            if now >= self._probe_at:
                self._ask_after_pause()
                return True
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(min(deadline, self._probe_at)):
                    await self._closed.wait()
        return True

    def record(self, began: float, *, faulty: bool) -> None:
        """Learn from a try.

        Args:
            began: the loop's time of its beginning.
            faulty: the provider, not the push, was to blame.
        """
        if not faulty:
            self._faults, self._pause = 0, PAUSE_FIRST
            if self.open:
                self._closed.set()
                self._report(False)  # noqa: FBT003 - a gauge's value
            return
        if self.open:
            if began >= self._asked_at:  # a probe; not one of the many that were under way when it opened
                self._pause = min(PAUSE_MOST, 2 * self._pause)
                self._ask_after_pause()
            return
        self._faults += 1
        if self._faults >= FAULTS:
            self._ask_after_pause()
            self._closed.clear()
            self._report(True)  # noqa: FBT003 - a gauge's value

    def _ask_after_pause(self) -> None:
        self._asked_at = asyncio.get_running_loop().time()
        self._probe_at = self._asked_at + self._pause
