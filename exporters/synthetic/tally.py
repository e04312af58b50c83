"""What came of the journeys: counts, durations and times, for as long as the exporter runs. No I/O, and no schedule."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

from exporters.synthetic.names import DROPPED, EDGES, OK, PACKETS, RESULTS, ROUND_TRIP_EDGES, STAGES
from exporters.synthetic.snapshot import Snapshot
from toolkit.histogram import Histogram

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from exporters.synthetic.snapshot import JourneyPlace


class Tally:
    """Counts for a fixed set of journeys; every series exists from the start.

    Args:
        places: every (journey, from, to) there will be.
        relays: every (relay, transport) there will be media on.
        intervals: seconds between two tries of a journey.
        vantage: from where it is measured.
    """

    def __init__(
        self,
        places: Iterable[JourneyPlace],
        relays: Iterable[tuple[str, str]],
        intervals: Mapping[str, float],
        vantage: str,
    ) -> None:
        self._results: dict[JourneyPlace, Counter[str]] = {
            place: Counter(dict.fromkeys(RESULTS, 0)) for place in places
        }
        self._seconds = {place: Histogram(EDGES) for place in self._results}
        self._successes: dict[JourneyPlace, float] = {}
        self._stages = {stage: Histogram(EDGES) for stage in STAGES}
        self._dropped = Counter(dict.fromkeys(DROPPED, 0))
        relays = list(relays)
        self._packets = {(*relay, result): 0 for relay in relays for result in PACKETS}
        self._round_trips = {relay: Histogram(ROUND_TRIP_EDGES) for relay in relays}
        self._jitter: dict[tuple[str, str], float] = {}
        self._lifetimes: dict[str, float] = {}
        self._intervals = dict(intervals)
        self._vantage = vantage

    def record(self, place: JourneyPlace, result: str, seconds: float | None = None) -> None:
        """Count one journey.

        Args:
            place: one of those given at the start.
            result: of RESULTS.
            seconds: how long it took, for one that is "ok".
        """
        self._results[place][result if result in RESULTS else "protocol"] += 1
        if result == OK and seconds is not None:
            self._seconds[place].observe(seconds)
            self._successes[place] = time.time()

    def stages(self, seconds: Mapping[str, float]) -> None:
        """Add the stages of one successful login."""
        for stage, duration in seconds.items():
            if stage in self._stages:
                self._stages[stage].observe(duration)

    def dropped(self, reason: str) -> None:
        """Count one message that was ignored, by one of DROPPED."""
        self._dropped[reason] += 1

    def media(self, relay: tuple[str, str], sent: int, round_trips: Sequence[float], jitter: float | None) -> None:
        """Add one run of packets through a relay, by (relay, transport); jitter in seconds, None if unknown."""
        for result, count in zip(PACKETS, (sent, len(round_trips), sent - len(round_trips)), strict=True):
            self._packets[*relay, result] += count
        for seconds in round_trips:
            self._round_trips[relay].observe(seconds)
        if jitter is None:
            self._jitter.pop(relay, None)
        else:
            self._jitter[relay] = jitter

    def lifetime(self, node: str, seconds: float | None) -> None:
        """Note for how long the credentials are valid that a node gave last; None if it gave none."""
        if seconds is None:
            self._lifetimes.pop(node, None)
        else:
            self._lifetimes[node] = seconds

    def snapshot(self, sessions: Mapping[tuple[str, str], bool], foreign: int, stalls: int) -> Snapshot:
        """Return all of it as it is now.

        Args:
            sessions: whether each session that should stay open is, by (node, role).
            foreign: sessions of the exporter's accounts that it did not open.
            stalls: how often the exporter itself did not run for a while.
        """
        return Snapshot(
            vantage=self._vantage,
            results={place: dict(counts) for place, counts in self._results.items()},
            seconds={place: counts.copy() for place, counts in self._seconds.items()},
            successes=dict(self._successes),
            stages={stage: counts.copy() for stage, counts in self._stages.items()},
            dropped=dict(self._dropped),
            packets=dict(self._packets),
            round_trips={relay: counts.copy() for relay, counts in self._round_trips.items()},
            jitter=dict(self._jitter),
            lifetimes=dict(self._lifetimes),
            intervals=self._intervals,
            sessions=dict(sessions),
            foreign=foreign,
            stalls=stalls,
        )
