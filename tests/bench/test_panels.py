"""The panels' benchmark measures something: each metric that a dashboard asks for has series in it."""

from __future__ import annotations

from bench.panels import RECORDED, queries_of, series, series_of_the_service, unwritten
from check.panels import read_dashboards
from lab.fakes.recordings import SOURCES


def test_every_metric_that_a_dashboard_asks_for_has_series_in_the_benchmark() -> None:
    asked = queries_of(read_dashboards())
    written = [line for job in SOURCES for line in series(job, asked)] + series_of_the_service(["prosody1"])
    assert unwritten(asked, written) == set()


def test_a_recorded_metric_without_series_is_named() -> None:
    known = [f"{name.partition('{')[0]}{{}}" for name in RECORDED["haproxy"]]
    asked = 'max(haproxy_backend_up{job="haproxy"}) / on () slo:connections:ratio'
    assert unwritten(asked, known) == {"slo:connections:ratio"}
