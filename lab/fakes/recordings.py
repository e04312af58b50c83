"""What real targets answered, by job: the label sets of every series in tests/recorded/; it runs nothing."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Final

from lab.running.workspace import ROOT

FOLDER: Final = ROOT / "tests/recorded"
# The recordings of each job, oldest version first; each must have what the rules read.
SOURCES: Final = {
    "node": ("node-exporter-1.5",),
    "prosody": ("prosody-exporter",),
    "push-gateway": ("push-gateway",),
    "haproxy": ("haproxy-2.6", "haproxy-3.2"),
    "postgresql": ("postgres-exporter-0.11-primary", "postgres-exporter-0.17-primary"),
    "coturn": ("coturn-exporter",),
    "certificates": ("certificate-exporter",),
    "prometheus": ("prometheus-2.42",),
    "alertmanager": ("alertmanager-0.25",),
    "synthetic": ("synthetic-exporter",),
}
_SAMPLE: Final = re.compile(r"(?P<name>[a-zA-Z_:][\w:]*)(?:\{(?P<labels>.*)\})? [^ ]+")
_LABEL: Final = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
Series = dict[str, list[dict[str, str]]]
"""The label sets of each metric, by sample name."""


def recorded(name: str) -> Series:
    """Read one recorded answer."""
    series: Series = defaultdict(list)
    for line in (FOLDER / f"{name}.prom").read_text(encoding="utf-8").splitlines():
        # Not prometheus_client's parser: it gives every counter a _total, and PostgreSQL's have none.
        if sample := _SAMPLE.match(line):
            series[sample["name"]].append(dict(_LABEL.findall(sample["labels"] or "")))
    return dict(series)


def answers(job: str) -> dict[str, Series]:
    """Return the series of each recording of a job, by the recording's name."""
    return {name: recorded(name) for name in SOURCES[job]}
