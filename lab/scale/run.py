"""One run, step by step: everybody logs in, lives for a while, loses a node, and comes back. It judges nothing."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from lab.running.workspace import LabError
from lab.scale.crowds import Crowds, quantile
from lab.scale.figures import alerts, asked, costs, memory_of_nodes, plain, sources

if TYPE_CHECKING:
    from lab.scale.crowds import Totals
    from lab.scale.plan import Plan
    from lab.scale.site import Site

_LOOK = 1.0  # seconds between two looks
_ALL = ("open", "asleep")
SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


def say(text: str) -> None:
    """Print a line at once: a run takes minutes."""
    print(text, flush=True)


def enter(crowds: Crowds, plan: Plan) -> dict[str, Any]:
    """Let everybody log in; return how that went. Raises LabError if not all are in within the plan's patience."""
    began, told = time.monotonic(), 0.0
    crowds.order("forget")
    crowds.order("enter", logins=plan.logins)
    while True:
        totals = crowds.totals()
        inside, seconds = sum(totals.phases[phase] for phase in _ALL), time.monotonic() - began
        if inside == plan.users:
            break
        if seconds > plan.patience:
            raise LabError(f"only {inside} of {plan.users} users are in after {seconds:.0f} s: {failures(totals)}")
        if seconds - told > 15:  # noqa: PLR2004 - seconds between two lines
            told = seconds
            say(f"  {inside} are in after {seconds:.0f} s")
        time.sleep(_LOOK)
    return {"seconds": seconds, "login_seconds": quantiles(totals.login_seconds), "failures": failures(totals)}


def live(crowds: Crowds, plan: Plan) -> dict[str, Any]:
    """Let them write, call, and lose their connections for a while; return what came of it."""
    before = crowds.totals().cpu
    crowds.order("forget")
    crowds.order("rates", messages=plan.messages, calls=plan.calls, breaks=plan.breaks)
    time.sleep(plan.seconds)
    crowds.order("rates", messages=0, calls=0, breaks=0)
    until = time.monotonic() + plan.patience
    while True:  # those whose connection broke come back, and get what was kept for them
        totals = crowds.totals()
        out = plan.users - sum(totals.phases[phase] for phase in _ALL)
        if (not out and totals.counts["delivered"] == totals.counts["sent"]) or time.monotonic() > until:
            break
        if not out and time.monotonic() > until - plan.patience + 20:
            break
        time.sleep(_LOOK)
    return {
        "seconds": plan.seconds,
        "counts": dict(totals.counts),
        "message_seconds": quantiles(totals.message_seconds),
        "failures": failures(totals),
        "phases": dict(totals.phases),
        "client_rss": totals.rss,
        "client_cpu": (totals.cpu - before) / plan.seconds,
    }


def lose_a_node(site: Site, crowds: Crowds, plan: Plan) -> dict[str, Any]:
    """Kill one Prosody; return how long it took until all of its users were back, and what happened meanwhile."""
    victim = site.nodes[-1].prosody
    had = asyncio.run(site.counted_by_prosody())[victim.name]
    crowds.order("forget")
    crowds.order("rates", logins=plan.storm)
    awake = crowds.totals().phases["open"]
    began, at = time.monotonic(), time.time()
    victim.kill()
    most_backends, out = 0, True
    noticed = False
    while time.monotonic() - began < plan.patience:
        totals = crowds.totals()
        most_backends = max(most_backends, int(site.postgresql.ask("SELECT count(*) FROM pg_stat_activity")))
        noticed = noticed or totals.phases["open"] < awake
        out = totals.phases["open"] < awake
        if noticed and not out:
            break
        time.sleep(_LOOK)
    seconds = time.monotonic() - began
    return {
        "node": victim.name,
        "at": at,
        "sessions": had,
        "all_back": not out,
        "seconds": seconds,
        "logins": totals.counts["logins"],
        "login_seconds": quantiles(totals.login_seconds),
        "failures": failures(totals),
        "database_clients": most_backends,
        "by_prosody": asyncio.run(site.counted_by_prosody()),
        "memory": memory_of_nodes(site),
    }


def run(site: Site, plan: Plan) -> dict[str, Any]:
    """Do everything; return the whole result as it is written to a file."""
    began = time.time()
    say(f"Starting {len(site.nodes)} Prosodys, {len(site.haproxies)} HAProxys and what watches them ...")
    for _ in site.begin():
        pass
    accounts = asyncio.run(site.make_accounts())
    time.sleep(2 * site.prometheus.interval)
    empty, idle = memory_of_nodes(site), costs(site)
    with Crowds(site.place, accounts, plan.asleep, site.directory / "crowd.log") as crowds:
        say(f"{plan.users} users log in ...")
        entered = enter(crowds, plan)
        say(f"  all are in after {entered['seconds']:.0f} s")
        say(f"They live for {plan.seconds:.0f} s ...")
        before = costs(site)
        lived = live(crowds, plan)
        after = costs(site)
        time.sleep(2 * site.prometheus.interval)  # every source has been asked again
        by_prosody = asyncio.run(site.counted_by_prosody())
        result: dict[str, Any] = {
            "plan": plan.__dict__,
            "began": began,
            "nodes": len(site.nodes),
            "haproxies": len(site.haproxies),
            "entered": entered,
            "lived": lived,
            "truth": dict(crowds.totals().phases),
            "by_prosody": by_prosody,
            "sources": sources(site, by_prosody),
            "asked": asked(site, plan.seconds + 2 * site.prometheus.interval),
            "memory_empty": empty,
            "memory_full": memory_of_nodes(site),
            "costs_idle": plain(idle),
            "costs_before": plain(before),
            "costs": plain(after),
        }
        say(f"{site.nodes[-1].prosody.name} is killed ...")
        result["lost"] = lose_a_node(site, crowds, plan)
        say(f"  its {result['lost']['sessions']} users: {_back(result['lost'])}")
        site.nodes[-1].prosody.start()
        time.sleep(plan.aftermath)
        result["truth_after"] = dict(crowds.totals().phases)
        result["costs_after"] = plain(costs(site))
    ended = time.time()
    result["alerts"] = alerts(site, began, ended)
    result["killed_at"] = result["lost"]["at"] - began
    result["seconds"] = ended - began
    return result


def _back(lost: dict[str, Any]) -> str:
    return f"all are back after {lost['seconds']:.0f} s" if lost["all_back"] else "not all came back"


def quantiles(seconds: list[float]) -> dict[str, float | None]:
    """Return the quantiles by name."""
    return {name: quantile(share, seconds) for name, share in SHARES.items()}


def failures(totals: Totals) -> dict[str, int]:
    """Return why connections were lost or refused, and how often."""
    return {why.removeprefix("lost: "): number for why, number in totals.counts.items() if why.startswith("lost")}
