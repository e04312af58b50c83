"""What the demo tells about a stack, from Prometheus' answers: pure text and verdicts, no I/O."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from lab.prometheus import Sample


@dataclass(frozen=True)
class Finding:
    """What Prometheus holds of one promised metric: how many series, and the sum of their values."""

    name: str
    samples: int
    total: float


def selector(names: Iterable[str]) -> str:
    """Return the one PromQL expression that fetches every promised metric; a histogram answers with its _count."""
    return f'{{__name__=~"({"|".join(names)})(_count)?"}}'


def findings(names: Sequence[str], samples: Iterable[Sample]) -> list[Finding]:
    """Return one finding for each name, in the order of `names`, with or without samples."""
    values: dict[str, list[float]] = defaultdict(list)
    for sample in samples:
        values[sample.labels["__name__"].removesuffix("_count")].append(sample.value)
    return [Finding(name, len(values[name]), sum(values[name])) for name in names]


def problems(targets: Sequence[Mapping[str, Any]], found: Iterable[Finding]) -> list[str]:
    """Return what is wrong, one line each: a target that is down, a promised metric without a sample."""
    wrong = [
        f"target {target['labels']['job']} {target['labels']['instance']} is {target['health']}: {target['lastError']}"
        for target in targets
        if target["health"] != "up"
    ]
    missing = [finding.name for finding in found if finding.samples == 0]
    if missing:
        wrong.append(f"no sample of {', '.join(missing)}")
    return wrong if targets else ["Prometheus has no targets"]


def target_lines(targets: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return one line for each target."""
    return [
        f"  {target['health']:<8}{target['labels']['job']:<14}{target['labels']['instance']:<14}"
        f"{target['scrapeUrl']}  {float(target['lastScrapeDuration']) * 1000:.0f} ms"
        for target in targets
    ]


def finding_lines(found: Iterable[Finding]) -> list[str]:
    """Return one line for each promised metric."""
    return [
        f"  {finding.name:<46}{finding.samples:>4} {'sample ' if finding.samples == 1 else 'samples'}  "
        + (f"{finding.total:,.6g}" if finding.samples else "MISSING")
        for finding in found
    ]
