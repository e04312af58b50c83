"""A histogram as plain numbers. `toolkit.families` gives it a name and labels."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass
class Histogram:
    """Observations by bucket.

    Args:
        edges: upper edges of the buckets, ascending; the bucket to infinity is added.
        counts: observations in each bucket, not cumulative, and last those above every edge; none at first.
        sum: of all observations.
    """

    edges: Sequence[float]
    counts: list[float] = field(default_factory=list)
    sum: float = 0.0

    def __post_init__(self) -> None:
        """Begin with a count of 0 in each bucket."""
        self.counts = self.counts or [0] * (len(self.edges) + 1)
        assert len(self.counts) == len(self.edges) + 1, "a count for each bucket, and one for what is above every edge"

    def observe(self, value: float) -> None:
        """Count one observation."""
        self.counts[bisect_left(self.edges, value)] += 1
        self.sum += value

    def copy(self) -> Histogram:
        """Return it as it is now; later observations do not change the copy."""
        return replace(self, counts=[*self.counts])
