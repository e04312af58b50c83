"""Writes docs/scale-report.md from the results of runs; every figure is one that a run measured."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from lab.running.workspace import ROOT
from lab.scale.judge import of_run, why
from lab.scale.paper import login, paper

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from lab.scale.paper import Paper

RESULTS = ROOT / "lab/scale/results"
REPORT = ROOT / "docs/scale-report.md"
PREFACE = ROOT / "lab/scale/preface.md"
_GB, _MB, _KB = 1e9, 1e6, 1e3


def keep(result: Mapping[str, Any]) -> Path:
    """Keep the result of a run, in place of an earlier one with as many users."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{result['plan']['users']}.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return path


def write() -> None:
    """Write the report from all results that are kept."""
    results = [json.loads(path.read_text(encoding="utf-8")) for path in RESULTS.glob("*.json")]
    results.sort(key=lambda result: int(result["plan"]["users"]))
    parts = [PREFACE.read_text(encoding="utf-8").rstrip(), *("\n".join(_run(result)) for result in results)]
    if results:
        parts.append("\n".join(_paper(results[-1])))
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
            (what, *(seconds(quantiles[name]) for name in ("p50", "p95", "p99")))
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
        f"({plan['users'] / entered['seconds']:.0f} logins a second, at most {plan['at_once']:.0f} at a time; "
        f"{entered['transactions'] / plan['users']:.1f} database transactions for each). Until a node was killed, "
        f"HAProxy took one for dead {result['node_flaps']} times; each time, users who come then are on another node "
        "than their neighbours.\n"
    )
    yield (
        f"{lost['node']} was killed with {lost['sessions']:,} sessions. Every HAProxy knew "
        f"{'never' if lost['known_after'] is None else 'after ' + seconds(lost['known_after'])}; all users were back "
        f"after {lost['seconds']:.0f} s, with {lost['logins']:,} logins, at most {plan['storm']:.0f} at a time. "
        f"Meanwhile HAProxy got at most {lost['connections_a_second']} connections a second, tried "
        f"{lost['retries']:,} connections to a node again, answered {lost['refused']:,} times 5xx, and took another "
        f"node for dead {lost['others_down']} times. PostgreSQL had at most {lost['database_clients']} clients and did "
        f"{lost['transactions']:,} transactions. What clients met: {_list(lost['failures'])}.\n"
    )
    yield "What each step took, of the two cores:\n"
    yield from _table(
        ("step", "seconds", "cores, servers and monitoring", "cores, users"),
        (_stage(name, stage) for name, stage in result["stages"].items()),
    )
    yield "\nEach node:\n"
    yield from _table(
        (
            *("", "sessions", "memory without users", "with", "for each session", "loop lag, mean", "P99"),
            *("longest scrape", "work at a time: with a scrape", "without"),
        ),
        (_node(name, result) for name in result["by_prosody"]),
    )
    yield (
        "\nThe last two are the longest pieces of work of Prosody's loop, by CPU, in a tenth of a second with one "
        "scrape and without: medians of 20.\n"
    )
    yield "All servers of a kind, and the users' own processes; memory and CPU while users lived:\n"
    yield from _table(
        ("", "processes", "memory", "cores", "CPU of a login"),
        [
            *(
                (kind, str(cost["processes"]), f"{cost['rss'] / _MB:,.0f} MB", *_cpu(kind, result))
                for kind, cost in sorted(result["costs"].items())
            ),
            (
                "the users",
                "",
                f"{lived['client_rss'] / _MB:,.0f} MB, {lived['client_rss'] / plan['users'] / _KB:.0f} KB each",
                *_cpu("users", result),
            ),
        ],
    )
    yield (
        f"\nPrometheus: {_number(asked['series'])} series, {_number(asked['samples_a_second'])} samples a second, all "
        f"rules evaluated in {seconds(asked['rule_seconds'])}.\n"
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
        *(seconds(asked[figure].get(name)) for figure in ("loop_lag_mean", "loop_lag_p99", "scrape_longest")),
        *(seconds(result["stalls"][name][what]) for what in ("scrape", "nothing")),
    )


def _cpu(kind: str, result: Mapping[str, Any]) -> tuple[str, str]:
    """Return the cores that a kind used while users lived, and its milliseconds for each login."""
    lived = result["stages"]["they live"]
    return f"{lived['cpu'].get(kind, 0.0) / lived['seconds']:.3f}", f"{login(result).get(kind, 0.0) * 1000:.2f} ms"


def _stage(name: str, stage: Mapping[str, Any]) -> tuple[str, ...]:
    cpu = stage["cpu"]
    users = cpu.get("users", 0.0)
    return (
        name,
        f"{stage['seconds']:.0f}",
        *(f"{used / stage['seconds']:.2f}" for used in (sum(cpu.values()) - users, users)),
    )


def steps(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield in lines what each step took, and what a login cost."""
    for name, stage in result["stages"].items():
        cpu = stage["cpu"]
        users = cpu.get("users", 0.0)
        yield f"{name}: {stage['seconds']:.0f} s, CPU {sum(cpu.values()) - users:.1f} s and of the users {users:.1f} s"
    each = login(result)
    most = ", ".join(f"{kind} {cpu * 1000:.1f}" for kind, cpu in sorted(each.items(), key=lambda one: -one[1])[:6])
    yield f"a login: {sum(each.values()) * 1000:.1f} ms of CPU ({most})"


def _paper(result: Mapping[str, Any]) -> Iterator[str]:
    known = paper(result)
    yield f"## On paper, from what {result['plan']['users']:,} users cost\n"
    yield (
        "By straight lines, and not measured, with as many messages, calls and broken connections for each user. "
        f"A login costs {known.login * 1000:.0f} ms of CPU, of which the users' own program takes "
        f"{known.login_users * 1000:.0f}; a Prosody, which has one thread, "
        f"{known.login_prosody * 1000:.1f} ms, so that one node takes at most "
        f"{1 / known.login_prosody:.0f} logins a second.\n"
    )
    yield from _table(
        ("users", "Prosody", "HAProxy", "the users' program", "logins on two cores", "cores while they live"),
        (
            (
                f"{users:,}",
                *(f"{each * users / _GB:.1f} GB" for each in (known.prosody, known.haproxy, known.client)),
                f"{users * known.login / 2 / 60:.0f} minutes",
                f"{known.live * users:.1f}",
            )
            for users in (50_000, 100_000)
        ),
    )
    yield "\nOne node of three that share the users, when another one of them is lost:\n"
    yield from _table(
        ("sessions of each node before", "of its one core", "sessions after", "of its one core", "all are back after"),
        (_neighbour(sessions, known) for sessions in (20_000, 33_333, 40_000)),
    )


def _neighbour(sessions: int, known: Paper) -> tuple[str, ...]:
    after = sessions * 3 // 2
    free = 1 - after * known.live_prosody
    back = (after - sessions) * known.login_prosody / free if free > 0 else None
    return (
        f"{sessions:,}",
        f"{sessions * known.live_prosody:.0%}",
        f"{after:,}",
        f"{after * known.live_prosody:.0%}",
        "never: it has no time left" if back is None else f"{back:.0f} s",
    )


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


def seconds(value: float | None) -> str:
    """Return a time as it is read."""
    if value is None:
        return "unknown"
    return f"{value:.2f} s" if value >= 1 else f"{value * 1000:.0f} ms"


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:,.0f}"


def _list(failures: Mapping[str, int]) -> str:
    return ", ".join(f"{number} times “{why}”" for why, number in sorted(failures.items())) or "nothing"
