"""Notices when the exporter itself did not run for a while: frozen, swapped out, or starved of CPU."""

from __future__ import annotations

import asyncio

_BEAT = 1.0  # seconds
_STALL = 1.0  # seconds without a beat, beyond the pause between two


class Pulse:
    """A heartbeat on the event loop's clock.

    Attributes:
        stalls: how often it missed.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._clock = self._loop.time
        self._last = self._clock()
        self._stalled_until = float("-inf")
        self.stalls = 0

    async def run(self) -> None:
        """Beat until cancelled."""
        self._next = self._loop.call_later(_BEAT, self._beat)
        try:
            await self._loop.create_future()
        finally:
            self._next.cancel()

    def _beat(self) -> None:
        """Beat, by a timer: a sleep would wake the exporter twice each second."""
        self._next = self._loop.call_later(_BEAT, self._beat)
        now = self._clock()
        if now - self._last > _BEAT + _STALL:
            self._stalled_until = now
            self.stalls += 1
        self._last = now

    def stalled_since(self, moment: float) -> bool:
        """Tell whether the exporter did not run for a while, at some time after this moment."""
        # The one who asks may be woken before the heartbeat is.
        return self._stalled_until >= moment or self._clock() - self._last > _BEAT + _STALL
