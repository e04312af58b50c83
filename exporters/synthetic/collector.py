"""Turns one snapshot of the journeys into metric families. Pure: no I/O, no clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporters.synthetic.families import FAMILIES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.core import Metric

    from exporters.synthetic.snapshot import Snapshot


def collect(snapshot: Snapshot | None) -> Iterator[Metric]:
    """Return every family of the exporter, each sample with the vantage as its first label."""
    if snapshot is None:
        return
    here = snapshot.vantage
    yield FAMILIES.fill(
        "synthetic_journeys_total",
        *(
            ((here, *place, result), count)
            for place, results in snapshot.results.items()
            for result, count in results.items()
        ),
    )
    yield FAMILIES.fill_histograms(
        "synthetic_journey_seconds", *(((here, *place), seconds) for place, seconds in snapshot.seconds.items())
    )
    yield FAMILIES.fill_histograms(
        "synthetic_login_stage_seconds", *(((here, stage), seconds) for stage, seconds in snapshot.stages.items())
    )
    yield FAMILIES.fill_histograms(
        "synthetic_turn_round_trip_seconds",
        *(((here, *relay), seconds) for relay, seconds in snapshot.round_trips.items()),
    )
    for name, values in (
        ("synthetic_last_success_timestamp_seconds", snapshot.successes),
        ("synthetic_turn_packets_total", snapshot.packets),
        ("synthetic_turn_jitter_seconds", snapshot.jitter),
        ("synthetic_session_up", snapshot.sessions),
    ):
        yield FAMILIES.fill(name, *(((here, *key), value) for key, value in values.items()))
    for name, by_word in (
        ("synthetic_journey_interval_seconds", snapshot.intervals),
        ("synthetic_turn_credential_lifetime_seconds", snapshot.lifetimes),
        ("synthetic_dropped_messages_total", snapshot.dropped),
    ):
        yield FAMILIES.fill(name, *(((here, word), value) for word, value in by_word.items()))
    yield FAMILIES.fill("synthetic_foreign_sessions", ((here,), snapshot.foreign))
    yield FAMILIES.fill("synthetic_exporter_stalls_total", ((here,), snapshot.stalls))
