"""What is known of the journeys at one moment, as plain values: from the tally to the collector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from toolkit.histogram import Histogram


class JourneyPlace(NamedTuple):
    """One journey between two places. Where there is only one place, it stands in both.

    Args:
        journey: of `names.JOURNEYS`.
        origin: label `from`: a node, or a relay.
        to: a node, or a relay.
    """

    journey: str
    origin: str
    to: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a scrape shows.

    Args:
        vantage: from where it is measured.
        results: how often each journey had each result.
        seconds: how long those took that went well.
        successes: when each went well last, in seconds since 1970; missing if never.
        stages: of logins, by stage.
        dropped: messages that were ignored, by reason.
        packets: by (relay, transport, sent or returned or lost).
        round_trips: by (relay, transport), in seconds.
        jitter: of the last run, by (relay, transport), in seconds; missing if unknown.
        lifetimes: of TURN credentials, by the node that gave them, in seconds.
        intervals: between two tries of each journey, in seconds.
        sessions: whether each session that should stay open is, by (node, role).
        foreign: sessions of the exporter's accounts that it did not open.
        stalls: how often the exporter itself did not run for a while.
    """

    vantage: str
    results: Mapping[JourneyPlace, Mapping[str, int]]
    seconds: Mapping[JourneyPlace, Histogram]
    successes: Mapping[JourneyPlace, float]
    stages: Mapping[str, Histogram]
    dropped: Mapping[str, int]
    packets: Mapping[tuple[str, str, str], int]
    round_trips: Mapping[tuple[str, str], Histogram]
    jitter: Mapping[tuple[str, str], float]
    lifetimes: Mapping[str, float]
    intervals: Mapping[str, float]
    sessions: Mapping[tuple[str, str], bool]
    foreign: int
    stalls: int
