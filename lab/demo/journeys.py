"""What the demo says about the test users: messages between all nodes, and the stages of a login. Pure, no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from exporters.synthetic.names import STAGES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from check.prometheus import Sample

RESULTS: Final = 'sum by (from, to, result) (synthetic_journeys_total{journey="message"})'
ALERT: Final = "SyntheticMessagesFailing"


def quantile(share: float, by: str, histogram: str) -> str:
    """Return the query for a quantile over all that was seen so far."""
    return f"histogram_quantile({share}, sum by ({by}, le) ({histogram}))"


MESSAGES: Final = 'synthetic_journey_seconds_bucket{journey="message"}'
LOGINS: Final = "synthetic_login_stage_seconds_bucket"


@dataclass(frozen=True)
class Pair:
    """Messages from users of one node to users of another.

    Args:
        origin, to: the nodes.
        results: how many ended how.
        p50, p99: seconds, of those that arrived; NaN if none did.
    """

    origin: str
    to: str
    results: Mapping[str, float]
    p50: float
    p99: float

    @property
    def sent(self) -> float:
        """How many were tried."""
        return sum(self.results.values())

    @property
    def arrived(self) -> float:
        """How many were received."""
        return self.results.get("ok", 0)

    @property
    def crosses(self) -> bool:
        """Whether sender and receiver are on different nodes."""
        return self.origin != self.to

    @property
    def line(self) -> str:
        """One line about it."""
        start = f"  {self.origin:<9} -> {self.to:<9} {self.arrived:>4.0f} of {self.sent:.0f} arrived"
        if self.arrived:
            return f"{start}   P50 {self.p50 * 1000:.1f} ms   P99 {self.p99 * 1000:.1f} ms"
        others = ", ".join(f"{result} {count:.0f}" for result, count in sorted(self.results.items()) if count)
        return f"{start} ({others or 'none tried yet'})"


def pairs(results: Iterable[Sample], p50: Iterable[Sample], p99: Iterable[Sample]) -> list[Pair]:
    """Return every pair of nodes, same node first, from the answers to RESULTS and the two quantiles."""
    halves, nearly_all = _by_pair(p50), _by_pair(p99)
    counts: dict[tuple[str, str], dict[str, float]] = {}
    for sample in results:
        counts.setdefault(_pair(sample), {})[sample.labels["result"]] = sample.value
    found = [
        Pair(*pair, results, halves.get(pair, float("nan")), nearly_all.get(pair, float("nan")))
        for pair, results in counts.items()
    ]
    return sorted(found, key=lambda pair: (pair.crosses, pair.origin, pair.to))


def _by_pair(samples: Iterable[Sample]) -> dict[tuple[str, str], float]:
    return {_pair(sample): sample.value for sample in samples}


def _pair(sample: Sample) -> tuple[str, str]:
    return sample.labels["from"], sample.labels["to"]


def stage_line(p50: Iterable[Sample], p99: Iterable[Sample]) -> str:
    """Return one line about the stages of a login."""
    halves = {sample.labels["stage"]: sample.value for sample in p50}
    nearly_all = {sample.labels["stage"]: sample.value for sample in p99}
    said = [
        f"{stage} {halves[stage] * 1000:.1f}/{nearly_all[stage] * 1000:.1f}"
        for stage in STAGES
        if halves.get(stage, float("nan")) == halves.get(stage)  # NaN: this lab has no name to resolve, for example
    ]
    return f"  P50/P99 in ms: {'   '.join(said) or 'no login yet'}"


def verdict(found: Sequence[Pair], *, cross_node: bool) -> tuple[list[str], list[str]]:
    """Judge the pairs.

    Args:
        found: of the demo.
        cross_node: whether the demo runs Appendix A unchanged, on two nodes for one domain.

    Returns lines that explain what fails and has to, and what is wrong.
    """
    lost = [pair for pair in found if pair.sent and not pair.arrived]
    wrong = [
        f"no message arrives from {pair.origin} to {pair.to}" for pair in lost if not (pair.crosses and cross_node)
    ]
    wrong += [] if any(pair.arrived for pair in found) else ["no message of the test users has arrived"]
    crossing = [f"{pair.origin} -> {pair.to}" for pair in lost if pair.crosses]
    if not crossing or not cross_node:
        return [], wrong
    return [
        f"  {', '.join(crossing)}: no message arrives, and none can. This is the specification's Appendix A as it",
        "  stands: all users have one domain, each Prosody knows its own sessions only, and nothing connects the two.",
        "  To a user of one node every user of the other is offline, in production too.",
        f"  {ALERT} fires for these pairs, and rightly: their users lose every message and every call.",
        "  What works, and what it costs: docs/architectures.md. `make demo CLUSTER=active-passive` shows one of them.",
    ], wrong
