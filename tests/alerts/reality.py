"""What the targets really say, by job: read from recorded answers and, where there is none yet, from the contract."""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from pathlib import Path
from typing import Final

import yaml

RECORDED: Final = Path(__file__).parents[1] / "recorded"
# The recordings of each job, oldest version first; each must have what the rules ask of the job.
SOURCES: Final = {
    "prosody": ("prosody-exporter",),
    "push-gateway": ("push-gateway",),
    "haproxy": ("haproxy-2.6", "haproxy-3.2"),
    "postgresql": ("postgres-exporter-0.11-primary", "postgres-exporter-0.17-primary"),
    "coturn": ("coturn-exporter",),
    "certificates": ("certificate-exporter",),
}
_SAMPLE: Final = re.compile(r"(?P<name>[a-zA-Z_:][\w:]*)(?:\{(?P<labels>.*)\})? [^ ]+")
_LABEL: Final = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
Series = dict[str, list[dict[str, str]]]
"""The label sets of each metric, by sample name."""


def recorded(name: str) -> Series:
    """Read one recorded answer."""
    series: Series = defaultdict(list)
    for line in (RECORDED / f"{name}.prom").read_text(encoding="utf-8").splitlines():
        # Not prometheus_client's parser: it gives every counter a _total, and PostgreSQL's have none.
        if sample := _SAMPLE.match(line):
            series[sample["name"]].append(dict(_LABEL.findall(sample["labels"] or "")))
    return dict(series)


def contract(job: str) -> Series:
    """Read the contract of a job that has no recording; raises KeyError if it has none there either."""
    families = yaml.safe_load((RECORDED / "contract.yaml").read_text(encoding="utf-8"))[job]
    return {
        name: [dict(zip(labels, values, strict=True)) for values in itertools.product(*labels.values())]
        for name, labels in families.items()
    }


def answers(job: str) -> dict[str, Series]:
    """Give all we know of a job's answers, by where we know it from."""
    names = [name for name in SOURCES[job] if (RECORDED / f"{name}.prom").exists()]
    if names:
        return {name: recorded(name) for name in names}
    return {"contract.yaml": contract(job)}
