"""The recording rules that measure the objectives, under the names that sloth gives them. No alert is here.

Every ratio is one of events in its window, not an average of shorter ratios: that would page minutes late and give a
quiet hour the weight of a busy one. What was not measured is in `slo:coverage:ratio`; no series says that it was good.

Days of a hundred nodes' counters are too much to read every few minutes. So windows of days count in
`slo:counter:sum`, each target's counters summed up once a minute: they begin at 0 together, when the target restarts,
so their sum is a counter too, and a gap or a restart means the same to it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from alerts.catalogue.promises import NODE_CAUSES
from alerts.jobs import JOBS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from alerts.objectives import Objective, Promises

Rule = dict[str, Any]

BY: Final = "sloth_service, sloth_slo, sloth_id"
QUICK: Final = ("5m", "30m", "1h", "2h", "6h")
SLOW: Final = ("1d", "3d")
# The slow group reads days of samples. Four minutes, because a series without a sample for five is gone.
INTERVALS: Final = {"promises": "1m", "promises-days": "4m"}
# A burn alert's longest short window: while it holds what a cause did, that is still the cause's doing.
CULPRIT: Final = "30m"
# A page that is over explains the burn until that window holds nothing of it, and five minutes longer: a try still
# fails when the node answers again, and is counted at the next scrape. It is KnownCause's window in thresholds.yaml.
HOLDOVER: Final = "35m"
# Of the bad events: from this share on, one node explains them. Behind a common door a few go to no node by name.
EXPLAINS: Final = 0.9
ANY: Final = "any"  # what the users' door chooses, in place of a node (exporters/synthetic/names.py)
# Series that are there only while events are bad.
AT_TIMES: Final = (f"slo:bad_events:by_place{CULPRIT}", "slo:bad_events_of_node:ratio")
_PAUSE: Final = 0.9  # of its interval, on average, until a journey is tried again (exporters/synthetic/runner.py)
_UNITS: Final = {"m": 60, "h": 3600, "d": 86400}
_SUMS: Final = "slo:counter:sum"
_TERM: Final = re.compile(r" ([-+]) ")


def rules(promised: Promises, minimum: str, haste: int = 1) -> dict[str, list[Rule]]:
    """Return the rules by group.

    Args:
        promised: what is measured.
        minimum: seconds of measuring before there is a verdict.
        haste: what every window is divided by; 1 but for a demonstration.
    """
    if not promised.objectives:
        return {}
    of = [_Measured(each, haste) for each in promised.objectives.values()]
    periods = sorted({each.period for each in of}, key=lambda days: int(days[:-1]))
    return {
        "promises": [
            *(rule for each in of for rule in each.constants()),
            *(rule for each in of for rule in each.sums()),
            *(rule for window in QUICK for rule in _window(window, of)),
            *(each.places() for each in of),
            *_culprit(),
            _record("slo:current_burn_rate:ratio", f"slo:sli_error:ratio_rate5m / on ({BY}) slo:error_budget:ratio"),
            *(rule for each in of for rule in each.coming()),
            _record("slo:connections:ratio", f"sum(prosody_c2s_sessions) / {promised.connections}"),
        ],
        "promises-days": [
            *(rule for each in of for rule in each.since()),
            *(
                rule
                for window in (*SLOW, *(days for days in periods if days not in SLOW))
                for rule in _window(window, of)
            ),
            *_period(periods, minimum),
            *(each.coverage() for each in of),
        ],
    }


def _record(name: str, expr: str, **labels: str) -> Rule:
    return {"record": name, "expr": expr} | ({"labels": labels} if labels else {})


class _Measured:
    """One objective's own rules."""

    def __init__(self, objective: Objective, haste: int) -> None:
        self.objective = objective
        self.period = f"{objective.days}d"
        self._haste = haste
        self._labels = objective.labels
        self._me = f'{{sloth_id="{self._labels["sloth_id"]}"}}'

    def range(self, window: str) -> str:
        """Return a window as PromQL has it, shortened in a demonstration."""
        seconds = int(window[:-1]) * _UNITS[window[-1]]
        return window if self._haste == 1 else f"{seconds // self._haste}s"

    def _of(self, name: str, expr: str, **labels: str) -> Rule:
        return _record(name, expr, **self._labels, **labels)

    def constants(self) -> Iterable[Rule]:
        """Yield what the promise is."""
        each = self.objective
        yield self._of("slo:objective:ratio", f"vector({each.percent / 100:.10g})")
        yield self._of("slo:error_budget:ratio", f"vector({1 - each.percent / 100:.10g})")
        yield self._of("slo:time_period:days", f"vector({each.days})")
        yield self._of("slo:bad_events:minimum", f"vector({each.minimum})")
        yield self._of(
            "sloth_slo_info",
            "vector(1)",
            sloth_mode="generate-rules",
            sloth_objective=f"{each.percent:g}",
            severity=each.severity,
        )

    def sums(self) -> Iterable[Rule]:
        """Yield each target's counters, summed up: what the windows of days are counted in."""
        for side, terms in (("total", self.objective.total), ("good", self.objective.good)):
            for number, counter in enumerate(_TERM.split(terms)[::2], start=1):
                yield self._of(_SUMS, f"sum by (job, instance) ({counter})", counter=f"{side} {number}")

    def _terms(self, side: str, terms: str, window: str) -> str:
        """Return the counters that a window counts in: the targets' own, or for days their recorded sums."""
        if window in QUICK:
            return terms
        me = self._me.strip("{}")
        parts = _TERM.split(terms)
        parts[::2] = [f'{_SUMS}{{{me},counter="{side} {n}"}}' for n, _ in enumerate(parts[::2], start=1)]
        return "".join(f" {part} " if part in "+-" else part for part in parts)

    def counts(self, window: str) -> Iterable[Rule]:
        """Yield all events and the bad ones in a window; all are counted once, as there are many counters of them."""
        total, good = (
            increases(self._terms(side, terms, window), self.range(window))
            for side, terms in (("total", self.objective.total), ("good", self.objective.good))
        )
        events = f"slo:events:increase{window}"
        yield self._of(events, total, sloth_window=window)
        bad = f"{events}{self._me}\n- on () (\n{_indented(good)}\n)"
        yield self._of(f"slo:bad_events:increase{window}", bad, sloth_window=window)

    def places(self) -> Rule:
        """Return the bad events of each node or pair; most have none, and leave no series."""
        by = ", ".join(self.objective.nodes)
        total, good = (
            increases(terms, self.range(CULPRIT), f" by ({by})")
            for terms in (self.objective.total, self.objective.good)
        )
        return self._of(
            f"slo:bad_events:by_place{CULPRIT}", f"(\n{_indented(total)}\n- (\n{_indented(good, 4)}\n  )\n) > 0"
        )

    def coming(self) -> Iterable[Rule]:
        """Yield what should be measured, and whether a cause is known."""
        first = _TERM.split(self.objective.total)[0]
        job = JOBS[self.objective.jobs[0]]
        due = f'count(up{{job="{job.name}"}}) / {job.interval}'
        if job.name == "synthetic":
            due = (
                f"sum(\n  group by (job, instance, vantage, journey, from, to) ({first})\n"
                "  / on (job, instance, vantage, journey) group_left () synthetic_journey_interval_seconds\n"
                f") / {_PAUSE}"
            )
        yield self._of("slo:due:rate", due)
        if causes := "|".join(name for name in self.objective.causes if name not in NODE_CAUSES):
            firing = f'ALERTS{{alertstate="firing",severity="critical",alertname=~"{causes}"}}'
            yield self._of("slo:known_cause:bool", f"group(max_over_time({firing}[{self.range(HOLDOVER)}]))")

    def since(self) -> Iterable[Rule]:
        """Yield since when there has been something to measure, which remembers itself, and for how long that is."""
        first = _TERM.split(self.objective.total)[0]
        own = f"min_over_time(slo:measured_since:timestamp_seconds{self._me}[{self.range(self.period)}])"
        yield self._of("slo:measured_since:timestamp_seconds", f"{own}\nor on ()\ngroup({first}) * time()")
        seconds = self.objective.days * _UNITS["d"] // self._haste
        yield self._of(
            "slo:measured:seconds", f"clamp_max(time() - slo:measured_since:timestamp_seconds{self._me}, {seconds})"
        )

    def coverage(self) -> Rule:
        """Return the share of what should have been measured that was: journeys, or scrapes of real traffic.

        It has no value while the number of bad events is missing or NaN: then nobody knows whether it was kept.
        """
        job, window = self.objective.jobs[0], self.range(self.period)
        made = f"slo:events:increase{self.period}{self._me}"
        if job != "synthetic":
            made = f'sum(sum_over_time(up{{job="{job}"}}[{window}]))'
        due = f"avg_over_time(slo:due:rate{self._me}[{window}]) * slo:measured:seconds"
        known = f"abs(slo:bad_events:increase{self.period}{self._me}) >= 0"
        return self._of("slo:coverage:ratio", f"clamp_max({made} / on () ({due} > 0), 1)\nand on () {known}")


def increases(terms: str, window: str, by: str = "") -> str:
    """Return the increase of counters in a window, summed up, as PromQL.

    Args:
        terms: the counters, added and subtracted.
        window: as PromQL writes it, such as `30d`.
        by: a clause that keeps labels.
    """
    parts = _TERM.split(terms)
    signs = ["", *(f"{sign} " for sign in parts[1::2])]
    return "\n".join(
        f"{sign}sum{by}{' ' if by else ''}(increase({counter}[{window}]))"
        for sign, counter in zip(signs, parts[::2], strict=True)
    )


def _indented(text: str, spaces: int = 2) -> str:
    return "\n".join(f"{' ' * spaces}{line}" for line in text.splitlines())


def _window(window: str, of: Sequence[_Measured]) -> Iterable[Rule]:
    """Yield the counts of a window, and their ratio: none without events, as no traffic is neither good nor bad."""
    for each in of:
        if window in (*QUICK, *SLOW, each.period):
            yield from each.counts(window)
    yield _record(
        f"slo:sli_error:ratio_rate{window}", f"slo:bad_events:increase{window} / (slo:events:increase{window} > 0)"
    )


def _culprit() -> Iterable[Rule]:
    """Yield each node's share of the bad events, and the one node that explains them, or a series without a node.

    What the users' door chooses is no node: a node of that name has no dashboard, and nobody can look for it.
    A node explains them if nearly all involve it, or if too few for a page do not: a lost probe elsewhere is no news.
    """
    place = f"slo:bad_events:by_place{CULPRIT}"
    sides = "\n  or\n".join(
        f'  label_replace({place}{{{side}!="{ANY}"}}, "instance", "$1", "{side}", "(.+)")' for side in ("from", "to")
    )
    yield _record(
        "slo:bad_events_of_node:ratio",
        f"sum by ({BY}, instance) (\n{sides}\n)\n/ on (sloth_id) group_left ()\nsum by (sloth_id) ({place})",
    )
    elsewhere = (
        f"(1 - slo:bad_events_of_node:ratio) * on (sloth_id) group_left () sum by (sloth_id) ({place})\n"
        "  < on (sloth_id) group_left () slo:bad_events:minimum"
    )
    yield _record(
        "slo:explained_by:bool",
        f"{_only(f'slo:bad_events_of_node:ratio > {EXPLAINS}')}\nor\n{_only(elsewhere)}\n"
        f"or on (sloth_id)\ngroup by ({BY}) (slo:objective:ratio)",
    )


def _only(nodes: str) -> str:
    """Return the node of a promise that an expression finds, if it finds one alone."""
    more = f"count by (sloth_id) (\n  {nodes}\n  ) > 1"
    return f"group by ({BY}, instance) (\n  {nodes}\n  unless on (sloth_id) {more}\n)"


def _period(periods: Sequence[str], minimum: str) -> Iterable[Rule]:
    """Yield what became of the budgets, each over its promise's window; no verdict in the first hours."""
    yield _record("slo:verdict:bool", f"slo:measured:seconds >= bool {minimum}")
    ratios = " or ".join(f"slo:sli_error:ratio_rate{days}" for days in periods)
    ratio = f"({ratios})" if len(periods) > 1 else ratios
    yield _record("slo:period_burn_rate:ratio", f"{ratio} / on ({BY}) slo:error_budget:ratio")
    yield _record(
        "slo:period_error_budget_remaining:ratio",
        f"1 - {ratio} / on ({BY}) slo:error_budget:ratio\nand on (sloth_id) slo:verdict:bool == 1",
    )
