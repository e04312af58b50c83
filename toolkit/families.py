"""Describes an exporter's metric families in one table, apart from the code that fills them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

if TYPE_CHECKING:
    from collections.abc import Sequence

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

    def fill_histogram(
        self, name: str, edges: Sequence[float], counts: Sequence[float], total: float
    ) -> HistogramMetricFamily:
        """Return the family `name` as one histogram.

        Args:
            name: of the family.
            edges: upper edges of the buckets, ascending.
            counts: values in each bucket, not cumulative, and last those above every edge.
            total: sum of all values.
        """
        return self.fill_histograms(name, edges, ((), counts, total))

    def fill_histograms(
        self, name: str, edges: Sequence[float], *rows: tuple[tuple[str, ...], Sequence[float], float]
    ) -> HistogramMetricFamily:
        """Return the family `name` as one histogram per row, each as (label values, counts, total); see above."""
        spec = self[name]
        family = HistogramMetricFamily(name, spec.help, labels=spec.labels)
        names = [*(str(float(edge)) for edge in edges), "+Inf"]
        for labels, counts, total in rows:
            family.add_metric(labels, list(zip(names, accumulate(counts), strict=True)), total)
        return family
