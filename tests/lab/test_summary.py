"""What the demo prints about a stack, from answers written down here."""

from __future__ import annotations

from check.prometheus import ActiveTarget, Sample
from lab.demo.summary import PromisedMetric, finding_lines, findings, prosody_line, target_lines


def test_samples_are_counted_and_added_up_and_a_histogram_is_found_by_its_count() -> None:
    samples = [
        Sample({"__name__": "sessions", "transport": "tcp"}, 2),
        Sample({"__name__": "sessions", "transport": "websocket"}, 3),
        Sample({"__name__": "lag_count"}, 7),
    ]
    assert findings(["lag", "sessions", "gone"], samples) == [
        PromisedMetric("lag", 1, 7),
        PromisedMetric("sessions", 2, 5),
        PromisedMetric("gone", 0, 0),
    ]


def test_the_lines_say_what_was_found() -> None:
    up = ActiveTarget("prosody", "prosody1", "up", "", "http://127.0.0.1:1/metrics", 0.0123)
    assert target_lines([up]) == [
        "  up      prosody       prosody1      http://127.0.0.1:1/metrics  12 ms",
    ]
    assert [line.split() for line in finding_lines([PromisedMetric("a", 1, 1500), PromisedMetric("b", 0, 0)])] == [
        ["a", "1", "sample", "1,500"],
        ["b", "0", "samples", "MISSING"],
    ]


def test_the_version_of_each_prosody_is_shown_and_whether_the_specification_accepts_it() -> None:
    def built(version: str, instance: str) -> Sample:
        return Sample({"version": version, "instance": instance}, 1)

    assert prosody_line([built("13.0.7", "prosody1")]) == "13.0.7 on prosody1"
    assert prosody_line([built("13.0.4", "prosody1")]) == "13.0.4 on prosody1"
    mixed = prosody_line([built("13.0.7", "prosody1"), built("13.0.1", "prosody2")])
    assert mixed == "13.0.1 on prosody2, 13.0.7 on prosody1; Section 20 A demands 13.0.4 or newer"
