"""What the demo says of a stack, from answers written down here."""

from __future__ import annotations

from lab.prometheus import Sample
from lab.summary import Finding, finding_lines, findings, problems, selector, target_lines

UP = {
    "labels": {"job": "prosody", "instance": "prosody1"},
    "health": "up",
    "lastError": "",
    "scrapeUrl": "http://127.0.0.1:1/metrics",
    "lastScrapeDuration": 0.0123,
}
DOWN = UP | {"health": "down", "lastError": "connection refused"}


def test_samples_are_counted_and_added_up_and_a_histogram_is_found_by_its_count() -> None:
    samples = [
        Sample({"__name__": "sessions", "transport": "tcp"}, 2),
        Sample({"__name__": "sessions", "transport": "websocket"}, 3),
        Sample({"__name__": "lag_count"}, 7),
    ]
    assert findings(["lag", "sessions", "gone"], samples) == [
        Finding("lag", 1, 7),
        Finding("sessions", 2, 5),
        Finding("gone", 0, 0),
    ]
    assert selector(["lag", "sessions"]) == '{__name__=~"(lag|sessions)(_count)?"}'


def test_all_well_is_no_problem() -> None:
    assert problems([UP], [Finding("a", 1, 0)]) == []


def test_a_target_that_is_down_is_named_with_its_error() -> None:
    assert problems([UP, DOWN], []) == ["target prosody prosody1 is down: connection refused"]


def test_metrics_without_samples_are_named_together() -> None:
    assert problems([UP], [Finding("a", 0, 0), Finding("b", 1, 1), Finding("c", 0, 0)]) == ["no sample of a, c"]


def test_no_targets_at_all_is_a_problem() -> None:
    assert problems([], []) == ["Prometheus has no targets"]


def test_the_lines_say_what_was_found() -> None:
    assert target_lines([UP]) == [
        "  up      prosody       prosody1      http://127.0.0.1:1/metrics  12 ms",
    ]
    assert [line.split() for line in finding_lines([Finding("a", 1, 1500), Finding("b", 0, 0)])] == [
        ["a", "1", "sample", "1,500"],
        ["b", "0", "samples", "MISSING"],
    ]
