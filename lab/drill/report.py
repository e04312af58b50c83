"""The result of a drill, and the report about the last drill of each alert as Markdown; it runs nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from lab.running.workspace import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from alerts.thresholds import Threshold
    from lab.drill.table import Drill

REPORT = ROOT / "docs/drill-report.md"
_RIGHT = "| ok |"
_ALERT = re.compile(r"\| [\d-]{10} \| \[(\w+)\]")  # the beginning of a row


@dataclass
class DrillResult:
    """The result of one drill; times are seconds since it began, except `resolved`: seconds since the repair.

    Attributes:
        route: the receiver that should be notified.
        began: seconds since the epoch.
        over: likewise, when it no longer fired.
        told: when the receiver was notified; None if it was not.
        beside: the other alerts that fired, and whether Alertmanager silenced each.
        revived: Prosodys that crashed during the drill and were started again, as systemd would do.
        wrong: what went wrong, one sentence each.
    """

    drill: Drill
    route: str
    began: float
    pending: float = 0.0
    firing: float = 0.0
    told: float | None = None
    over: float = 0.0
    resolved: float = 0.0
    beside: dict[str, bool] = field(default_factory=dict)
    revived: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def line(self) -> str:
        """Return it as one line for the terminal."""
        told = "no notification" if self.told is None else f"{self.route} notified {self.told:.0f} s"
        verdict = f"WRONG: {'; '.join(self.wrong)}" if self.wrong else "ok"
        return (
            f"  {self.drill.alert:<29}firing {self.firing:>3.0f} s, {told}, resolved {self.resolved:.0f} s   "
            f"{' '.join(self.beside)}  {verdict}"
        )


def rows(
    results: Sequence[DrillResult], used: Mapping[str, Threshold], specified: Mapping[str, Threshold]
) -> dict[str, str]:
    """Return a row of the report for each alert that was drilled.

    Args:
        results: of one run.
        used: the thresholds of the drill.
        specified: those of production.
    """
    return {one.drill.alert: _row(one, used[one.drill.alert], specified[one.drill.alert]) for one in results}


def rows_of(text: str) -> dict[str, str]:
    """Return the rows of a report by their alerts, so that a run of some alerts keeps those of the others."""
    return {found[1]: line for line in text.splitlines() if (found := _ALERT.match(line))}


def report(run: Mapping[str, str], alerts: Sequence[str], haste: int) -> str:
    """Return the report.

    Args:
        run: rows by alert.
        alerts: all that have a drill, in its order; those without a row are named as not drilled.
        haste: what the times were divided by.
    """
    known = [run[alert] for alert in alerts if alert in run]
    well = sum(row.endswith(_RIGHT) for row in known)
    missing = [alert for alert in alerts if alert not in run]
    lines = [
        "# Fire drill",
        "",
        "Written by `make drill`; `make drill ALERTS=...` replaces the rows of those alerts. The first column says",
        "when each ran.",
        "",
        f"{well} of {len(alerts)} alerts fired because what they watch really broke, reached the right receiver with",
        "their text and their runbook, and resolved after the repair.",
        *([f"Not drilled: {', '.join(missing)}."] if missing else []),
        "",
        f"Times were {haste} times shorter than in production: a scrape every 2 s, rules every second, and every `for`",
        "(4 to 10 s), window and group wait likewise. Seconds count from the beginning of the fault; those to resolved",
        "from its end. Alertmanager silenced an alert *in italics* (an inhibition).",
        "",
        "| run | alert | fault | threshold | firing | notified | resolved | other alerts | result |",
        "|---|---|---|---|---|---|---|---|---|",
        *known,
        "",
    ]
    return "\n".join(lines)


def _row(result: DrillResult, used: Threshold, specified: Threshold) -> str:
    beside = "; ".join(
        f"{f'*{name}*' if silenced else name}: {result.drill.beside.get(name, '**unexplained**')}"
        for name, silenced in result.beside.items()
    )
    if result.revived:
        beside += f" ({', '.join(result.revived)} crashed and came back: [why](prosody.md#when-postgresql-goes-away))"
    threshold = used.limit if used.limit == specified.limit else f"{used.limit} (in production {specified.limit})"
    if used.minimum != specified.minimum:
        threshold += f", at least {used.least} (in production {specified.minimum:,g})"
    told = "no one" if result.told is None else f"{result.route} {result.told:.0f} s"
    cells = (
        f"{datetime.fromtimestamp(result.began, UTC):%Y-%m-%d}",
        f"[{result.drill.alert}](runbooks/{result.drill.alert}.md)",
        result.drill.fault,
        threshold,
        f"missed for {result.firing:.0f} s" if result.drill.by_silence else f"{result.firing:.0f} s",
        result.route if result.drill.by_silence else told,
        f"{result.resolved:.0f} s",
        beside,
        "; ".join(result.wrong).replace("|", "/") or "ok",
    )
    return f"| {' | '.join(cells)} |"
