"""A histogram as plain numbers. `toolkit.families` gives it a name and labels."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class Histogram:
    """Observations by bucket.

    Args:
        edges: upper edges of the buckets, ascending; the bucket to infinity is added.

    Attributes:
        counts: observations in each bucket, not cumulative, and last those above every edge.
        sum: of all observations.
    """

    def __init__(self, edges: Sequence[float]) -> None:
        self.edges = edges
        self.counts = [0] * (len(edges) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count one observation."""
        self.counts[bisect_left(self.edges, value)] += 1
        self.sum += value
