"""Renders families as a scrape would, and reads them back the way Prometheus does. It judges nothing."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client.core import Metric

Series = tuple[str, tuple[tuple[str, str], ...]]


class _Families(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterable[Metric]:
        return self._families


def _registry(families: Iterable[Metric]) -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(families))
    return registry


def text(families: Iterable[Metric]) -> str:
    """The classic text format."""
    return generate_latest(_registry(families)).decode()


def series(families: Iterable[Metric]) -> dict[Series, float]:
    """Every sample, after it went through both formats and came out the same; none is there twice."""
    families = list(families)
    classic = _samples(parse_text(text(families)))
    openmetrics = generate_openmetrics(_registry(families)).decode()  # type: ignore[no-untyped-call] # prometheus_client has no types there
    modern = _samples(parse_openmetrics(openmetrics))  # type: ignore[no-untyped-call] # as above
    assert {key: repr(value) for key, value in modern.items()} == {key: repr(value) for key, value in classic.items()}
    return classic


def _samples(families: Iterable[Metric]) -> dict[Series, float]:
    found: dict[Series, float] = {}
    names = set()
    for family in families:
        assert family.name not in names, f"two families are called {family.name}"
        names.add(family.name)
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found, f"{key} is there twice"
            found[key] = sample.value
    return found


def complaints(families: Iterable[Metric]) -> list[str]:
    """What `promtool check metrics` says, line by line."""
    promtool = shutil.which("promtool")
    assert promtool, "promtool is missing: install Debian's package prometheus"
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=text(families), capture_output=True, text=True, check=False, timeout=60
    )
    return [line for line in (checked.stdout + checked.stderr).splitlines() if line]
