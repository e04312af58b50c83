"""Counts STUN bindings without the probe's own, for a source that does not separate them. No I/O."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class WithoutProbes:
    """The bindings since this exporter started, as a counter that never falls.

    It starts at zero, because nobody knows how many of the earlier bindings an earlier exporter made.
    """

    total: float = 0.0
    _before: float = 0.0  # the total at the start of this run of coturn
    _start: tuple[float, float] | None = None  # what was served, and how many were ours, at that time
    _last: tuple[float, float] = (0.0, 0.0)

    def count(self, served: float, own: float) -> float:
        """Return the total.

        Args:
            served: all bindings since coturn started. It can lag behind, and begins at zero when coturn starts again.
            own: all of the probe's since this exporter started.
        """
        if self._start is None:
            self._start = served, own
        elif served < self._last[0]:
            self._start, self._before = (0.0, self._last[1]), self.total
        self._last = served, own
        others = (served - self._start[0]) - (own - self._start[1])
        self.total = max(self.total, self._before + others)
        return self.total
