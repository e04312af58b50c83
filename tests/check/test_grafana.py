"""What we read out of each answer that a real Grafana gave."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from check.client import ApiRefusedError, CannotAskError, HttpClient, NotThereError
from check.grafana import GrafanaApi
from tests.check.servers import FakeGrafana, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def replayed() -> Iterator[Callable[..., GrafanaApi]]:
    """Return what makes a Grafana give this recorded answer to every query, and its Prometheus the other one."""
    fake = FakeGrafana({"coturn": True, "haproxy": False})

    def asked(name: str, itself: str = "Prometheus: nothing") -> GrafanaApi:
        fake.queries, fake.itself = {"": name}, itself
        return GrafanaApi(HttpClient(url, f"Bearer {fake.TOKEN}"))

    with serving(fake) as url:
        yield asked


def test_a_dashboard_is_provisioned_or_made_by_hand_or_not_there(replayed: Callable[..., GrafanaApi]) -> None:
    grafana = replayed("nothing")
    assert [grafana.provisioned(uid) for uid in ("coturn", "haproxy", "hosts")] == [True, False, None]


def test_now_has_the_labels_of_each_series(replayed: Callable[..., GrafanaApi]) -> None:
    assert replayed("several series").nodes("prosody") == ["prosody1", "prosody2"]
    assert [(labels["instance"], value) for labels, value in replayed("one series").instant("up")] == [("prosody1", 1)]
    ((labels, value),) = replayed("not a number").instant("up")
    assert (labels, math.isnan(value)) == ({}, True)
    assert replayed("nothing").instant("up") == []


def test_a_graph_has_all_values_and_nan_where_grafana_has_null(replayed: Callable[..., GrafanaApi]) -> None:
    points = replayed("a graph").graph("up")
    assert set(points) == {1.0}
    assert len(points) > 1
    gaps = replayed("a graph with gaps").graph("up")
    assert gaps
    assert all(math.isnan(value) for value in gaps)
    assert replayed("a graph of nothing").graph("up") == []


@pytest.mark.parametrize(
    ("name", "error", "why"),
    [
        ("refused", ApiRefusedError, "found duplicate series"),
        ("no PromQL", ApiRefusedError, "parse error"),
        ("data source deleted", NotThereError, "data source not found"),
        ("Prometheus gone", ApiRefusedError, "an error occurred within the plugin"),
    ],
)
def test_what_grafana_refuses_says_why_in_one_line(
    name: str, error: type[CannotAskError], why: str, replayed: Callable[..., GrafanaApi]
) -> None:
    with pytest.raises(error) as refused:
        replayed(name).instant("up")
    said = str(refused.value)
    assert why in said.lower()
    assert "\n" not in said


def test_a_refused_query_that_grafana_answers_with_nothing_is_not_taken_for_one_without_data(
    replayed: Callable[..., GrafanaApi],
) -> None:
    grafana = replayed("nothing", itself="Prometheus: refused")
    for asked in (grafana.instant, grafana.graph):
        with pytest.raises(ApiRefusedError, match="found duplicate series"):
            asked("up * on (job) up")
