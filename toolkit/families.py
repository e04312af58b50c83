"""Describes an exporter's metric families in one table, apart from the code that fills them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

if TYPE_CHECKING:
    from toolkit.histogram import Histogram

Filled = CounterMetricFamily | GaugeMetricFamily

# The suffixes that the series of a family may have (OpenMetrics 1.0).
_SUFFIXES = {
    "counter": ("_total", "_created"),
    "gaugehistogram": ("_bucket", "_gcount", "_gsum"),
    "histogram": ("_bucket", "_count", "_sum", "_created"),
    "info": ("_info",),
    "summary": ("_count", "_sum", "_created"),
}


def series_names(kind: str, name: str) -> frozenset[str]:
    """Return every series name that a family occupies; no other family may use them.

    Args:
        kind: its type in OpenMetrics.
        name: its name in OpenMetrics, a counter's without `_total`.
    """
    return frozenset({name, *(name + suffix for suffix in _SUFFIXES.get(kind, ()))})


@dataclass(frozen=True)
class Family:
    """One family before it has samples.

    Args:
        kind: "gauge", "counter" or "histogram".
        name: as in the metric contract, a counter's with `_total`.
        labels: label names in the order in which values are given.
        help: what it means to the person on call.
        needs: the exporter's word for what it needs beside the target to have samples; "" for nothing.
    """

    kind: str
    name: str
    labels: tuple[str, ...]
    help: str
    needs: str = ""


class Families(dict[str, Family]):
    """Families by name, in the order in which they are documented.

    Args:
        families: each name once.
    """

    def __init__(self, *families: Family) -> None:
        super().__init__((family.name, family) for family in families)
        assert len(self) == len(families), "a family is listed twice"

    @property
    def taken(self) -> frozenset[str]:
        """Every series name that these families occupy; no other family may use them."""
        return frozenset().union(
            *(
                series_names(spec.kind, spec.name.removesuffix("_total") if spec.kind == "counter" else spec.name)
                for spec in self.values()
            )
        )

    def fill(self, name: str, *samples: tuple[tuple[str, ...], float]) -> Filled:
        """Return the family `name` with these samples, each as (label values, value)."""
        spec = self[name]
        kind = CounterMetricFamily if spec.kind == "counter" else GaugeMetricFamily
        family: Filled = kind(spec.name, spec.help, labels=spec.labels)
        for labels, value in samples:
            family.add_metric(labels, float(value))
        return family

    def fill_histograms(self, name: str, *rows: tuple[tuple[str, ...], Histogram]) -> HistogramMetricFamily:
        """Return the family `name` with these histograms, each as (label values, histogram)."""
        spec = self[name]
        family = HistogramMetricFamily(name, spec.help, labels=spec.labels)
        for labels, histogram in rows:
            names = [*(str(float(edge)) for edge in histogram.edges), "+Inf"]
            family.add_metric(labels, list(zip(names, accumulate(histogram.counts), strict=True)), histogram.sum)
        return family
