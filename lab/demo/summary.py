"""What the demo tells about a stack, from Prometheus' answers: pure text, no I/O. The verdicts are `check`'s."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from check.prometheus import Sample, Target


@dataclass(frozen=True)
class Finding:
    """What Prometheus holds of one promised metric: how many series, and the sum of their values."""

    name: str
    samples: int
    total: float


def findings(names: Sequence[str], samples: Iterable[Sample]) -> list[Finding]:
    """Return one finding for each name, in the order of `names`, with or without samples."""
    values: dict[str, list[float]] = defaultdict(list)
    for sample in samples:
        values[sample.labels["__name__"].removesuffix("_count")].append(sample.value)
    return [Finding(name, len(values[name]), sum(values[name])) for name in names]


def target_lines(targets: Iterable[Target]) -> list[str]:
    """Return one line for each target."""
    return [
        f"  {target.health:<8}{target.job:<14}{target.instance:<14}{target.url}  {target.seconds * 1000:.0f} ms"
        for target in targets
    ]


def finding_lines(found: Iterable[Finding]) -> list[str]:
    """Return one line for each promised metric."""
    return [
        f"  {finding.name:<46}{finding.samples:>4} {'sample ' if finding.samples == 1 else 'samples'}  "
        + (f"{finding.total:,.6g}" if finding.samples else "MISSING")
        for finding in found
    ]
