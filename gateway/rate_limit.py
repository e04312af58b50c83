"""The limit on requests per second."""

from __future__ import annotations

from collections import deque


class RateLimit:
    """Allows at most so many requests in any window of one second.

    Args:
        limit: 0 for no limit.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._times: deque[float] = deque(maxlen=limit)

    def take(self, now: float) -> bool:
        """Return True if one more is allowed at `now`, in seconds; what is refused does not count."""
        if not self._limit:
            return True
        if len(self._times) == self._limit and now - self._times[0] < 1.0:
            return False
        self._times.append(now)
        return True
