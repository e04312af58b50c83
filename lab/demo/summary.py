"""What the demo prints about a stack, as text made from Prometheus' answers; no I/O. `check` makes the verdicts."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from check.prometheus import ActiveTarget, Sample

DEMANDED: Final = (13, 0, 4)  # Section 20 A: the Prosody that every node must have at least


@dataclass(frozen=True)
class PromisedMetric:
    """What Prometheus holds of one promised metric: how many series, and the sum of their values."""

    name: str
    samples: int
    total: float


def findings(names: Sequence[str], samples: Iterable[Sample]) -> list[PromisedMetric]:
    """Return one finding for each name, in the order of `names`, with or without samples."""
    values: dict[str, list[float]] = defaultdict(list)
    for sample in samples:
        values[sample.labels["__name__"].removesuffix("_count")].append(sample.value)
    return [PromisedMetric(name, len(values[name]), sum(values[name])) for name in names]


def target_lines(targets: Iterable[ActiveTarget]) -> list[str]:
    """Return one line for each target."""
    return [
        f"  {target.health:<8}{target.job:<14}{target.instance:<14}{target.url}  {target.seconds * 1000:.0f} ms"
        for target in targets
    ]


def prosody_line(samples: Iterable[Sample]) -> str:
    """Return which version each Prosody has, and whether the specification accepts it."""
    versions = sorted({(sample.labels["version"], sample.labels["instance"]) for sample in samples})
    each = ", ".join(f"{version} on {instance}" for version, instance in versions)
    old = any(_numbers(version) < DEMANDED for version, _ in versions)
    return each + (f"; Section 20 A demands {'.'.join(map(str, DEMANDED))} or newer" if old else "")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def finding_lines(found: Iterable[PromisedMetric]) -> list[str]:
    """Return one line for each promised metric."""
    return [
        f"  {finding.name:<46}{finding.samples:>4} {'sample ' if finding.samples == 1 else 'samples'}  "
        + (f"{finding.total:,.6g}" if finding.samples else "MISSING")
        for finding in found
    ]
