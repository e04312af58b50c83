"""Writes docs/scale-report.md from the results of runs; every figure is one that a run measured."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from lab.running.workspace import ROOT
from lab.scale.judge import of_run, why

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

RESULTS = ROOT / "lab/scale/results"
REPORT = ROOT / "docs/scale-report.md"
PREFACE = ROOT / "lab/scale/preface.md"
_MB, _KB = 1e6, 1e3


def keep(result: Mapping[str, Any]) -> Path:
    """Keep the result of a run, in place of an earlier one with as many users."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{result['plan']['users']}.json"
    path.write_text(json.dumps(result, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return path


def write() -> None:
    """Write the report from all results that are kept."""
    results = [json.loads(path.read_text(encoding="utf-8")) for path in RESULTS.glob("*.json")]
    results.sort(key=lambda result: int(result["plan"]["users"]))
    parts = [PREFACE.read_text(encoding="utf-8").rstrip(), *("\n".join(_run(result)) for result in results)]
    REPORT.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _run(result: Mapping[str, Any]) -> Iterator[str]:
    plan, entered, lived, lost = (result[key] for key in ("plan", "entered", "lived", "lost"))
    yield f"## {plan['users']:,} users\n"
    yield (
        f"{result['nodes']} Prosodys, {result['haproxies']} HAProxys; {plan['asleep']:.0%} of the users asleep; "
        f"{plan['messages']:g} messages, {plan['calls']:g} calls and {plan['breaks']:g} broken connections a second "
        f"for {plan['seconds']:.0f} s. The whole run took {result['seconds']:.0f} s.\n"
    )
    yield from _table(
        ("promise", "", "found"),
        ((verdict.what, "kept" if verdict.kept else "**not kept**", verdict.found) for verdict in of_run(result)),
    )
    yield "\nTimes:\n"
    asked = result["asked"]
    synthetic, push = ({name: asked[f"{of}_{name}"] for name in ("p50", "p95", "p99")} for of in ("synthetic", "push"))
    yield from _table(
        ("", "P50", "P95", "P99"),
        (
            (what, *(_seconds(quantiles[name]) for name in ("p50", "p95", "p99")))
            for what, quantiles in (
                ("a login while everybody comes", entered["login_seconds"]),
                ("a message, by the users themselves", lived["message_seconds"]),
                ("a message, by the test users", synthetic),
                ("a push, by the gateway", push),
                ("a login after a node was lost", lost["login_seconds"]),
            )
        ),
    )
    yield (
        f"\nEverybody was in after {entered['seconds']:.0f} s "
        f"({plan['users'] / entered['seconds']:.0f} logins a second). {lost['node']} was killed with "
        f"{lost['sessions']:,} sessions; its users were back after {lost['seconds']:.0f} s, with {lost['logins']:,} "
        f"logins. PostgreSQL had at most {lost['database_clients']} clients meanwhile. What clients met: "
        f"{_list(lost['failures'])}.\n"
    )
    flaps = asked.get("node_flaps")
    yield (
        f"Before that, HAProxy took a node for dead {_number(flaps)} times; each time, users who come then are on "
        "another node than their neighbours.\n"
    )
    yield "Each node:\n"
    yield from _table(
        ("", "sessions", "memory without users", "with", "for each session", "loop lag, mean", "P99", "longest scrape"),
        (_node(name, result) for name in result["by_prosody"]),
    )
    yield "\nAll servers of a kind, and the users' own processes:\n"
    yield from _table(
        ("", "processes", "memory", "CPU while users lived"),
        [
            *(_cost(kind, result) for kind in sorted(result["costs"])),
            (
                "the users",
                "",
                f"{lived['client_rss'] / _MB:,.0f} MB, {lived['client_rss'] / plan['users'] / _KB:.0f} KB each",
                f"{lived['client_cpu']:.1%}",
            ),
        ],
    )
    yield (
        f"\nPrometheus: {_number(asked['series'])} series, {_number(asked['samples_a_second'])} samples a second, all "
        f"rules evaluated in {_seconds(asked['rule_seconds'])}.\n"
    )
    yield f"Alerts; the node was killed {result['killed_at']:.0f} s after the beginning:\n"
    yield from _table(
        ("from", "to", "alert", "right?"),
        (_alert(alert, result) for alert in result["alerts"]),
    )


def _node(name: str, result: Mapping[str, Any]) -> tuple[str, ...]:
    sessions, empty, full = result["by_prosody"][name], result["memory_empty"][name], result["memory_full"][name]
    asked = result["asked"]
    return (
        name,
        f"{sessions:,}",
        f"{empty / _MB:.0f} MB",
        f"{full / _MB:.0f} MB",
        f"{(full - empty) / sessions / _KB:.0f} KB" if sessions else "",
        *(_seconds(asked[figure].get(name)) for figure in ("loop_lag_mean", "loop_lag_p99", "scrape_longest")),
    )


def _cost(kind: str, result: Mapping[str, Any]) -> tuple[str, ...]:
    cost, before = result["costs"][kind], result["costs_before"][kind]
    share = (cost["cpu"] - before["cpu"]) / result["lived"]["seconds"]
    return kind, str(cost["processes"]), f"{cost['rss'] / _MB:,.0f} MB", f"{share:.1%}"


def _alert(alert: Mapping[str, Any], result: Mapping[str, Any]) -> tuple[str, ...]:
    words, right = why(alert, result)
    quiet = ("alertname", "severity", "job", "vantage")
    labels = ", ".join(f"{key} {value}" for key, value in alert["labels"].items() if key not in quiet)
    return (
        f"{alert['from']:.0f} s",
        f"{alert['to']:.0f} s",
        f"{alert['labels']['alertname']} ({labels})",
        f"{'yes' if right else '**no**'}: {words}",
    )


def _table(head: tuple[str, ...], rows: Any) -> Iterator[str]:  # noqa: ANN401 - tuples as long as the head
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _seconds(value: float | None) -> str:
    if value is None:
        return "unknown"
    return f"{value:.2f} s" if value >= 1 else f"{value * 1000:.0f} ms"


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:,.0f}"


def _list(failures: Mapping[str, int]) -> str:
    return ", ".join(f"{number} times “{why}”" for why, number in sorted(failures.items())) or "nothing"
