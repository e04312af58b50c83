"""One run, step by step: everybody logs in, lives for a while, loses a node, and comes back. It judges nothing."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from lab.running.workspace import LabError
from lab.scale.crowds import Crowds, quantile
from lab.scale.figures import alerts, asked, costs, door, memory_of_nodes, plain, sources
from lab.scale.stall import stalls
from lab.servers.prosody import DATABASE

if TYPE_CHECKING:
    from lab.scale.crowds import Totals
    from lab.scale.lab import ScaleLab
    from lab.scale.plan import Plan

_LOOK = 1.0  # seconds between two looks
_TOLD = 15.0  # seconds between two lines
_ALL = ("open", "asleep")
_LATE = 20.0  # seconds without a message after which those that are missing are lost
SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
_TRANSACTIONS = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"


def say(text: str) -> None:
    """Print a line at once: a run takes minutes."""
    print(text, flush=True)


class Stages:
    """What each step of a run took: seconds, seconds of CPU by kind of server, and transactions of the database.

    Args:
        lab: whose servers are measured.

    Attributes:
        done: the steps by name, in their order.
        crowds: the users, once they are there; their own CPU is the kind "users".
    """

    def __init__(self, lab: ScaleLab) -> None:
        self.done: dict[str, dict[str, Any]] = {}
        self.crowds: Crowds | None = None
        self._lab = lab
        self._before: dict[str, float] = {}
        self.begin()

    def begin(self) -> None:
        """Measure from here."""
        self._at, self._before = time.monotonic(), self._now()

    def end(self, name: str) -> None:
        """Note the step that ends here; the next one begins."""
        cpu = {kind: used - self._before.get(kind, 0.0) for kind, used in self._now().items()}
        self.done[name] = {"seconds": time.monotonic() - self._at, "cpu": cpu}
        self.begin()

    def _now(self) -> dict[str, float]:
        now = {kind: cost.cpu for kind, cost in costs(self._lab).items()}
        return now | ({"users": self.crowds.totals().cpu} if self.crowds else {})


class Patience:
    """Tells when nothing has moved for so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._reached, self._since = seconds, -1, time.monotonic()

    def is_over(self, reached: int) -> bool:
        """Tell whether as many have been reached as before, for longer than the patience lasts."""
        now = time.monotonic()
        if reached != self._reached:
            self._reached, self._since = reached, now
        return now - self._since > self._seconds


def enter(crowds: Crowds, plan: Plan) -> dict[str, Any]:
    """Let everybody log in; return how that went. Raises LabError if nobody new comes in for too long."""
    began, told, patience = time.monotonic(), 0.0, Patience(plan.patience)
    crowds.order("forget")
    crowds.order("rates", at_once=plan.at_once)
    crowds.order("enter")
    while True:
        totals = crowds.look()
        inside, seconds = sum(totals.phases[phase] for phase in _ALL), time.monotonic() - began
        if inside == plan.users:
            break
        if patience.is_over(inside):
            raise LabError(f"only {inside} of {plan.users} users are in after {seconds:.0f} s: {failures(totals)}")
        if seconds - told > _TOLD:
            told = seconds
            say(f"  {inside} are in after {seconds:.0f} s")
        time.sleep(_LOOK)
    totals = crowds.totals()
    return {"seconds": seconds, "login_seconds": quantiles(totals.login_seconds), "failures": failures(totals)}


def live(crowds: Crowds, plan: Plan) -> dict[str, Any]:
    """Let them write, call, and lose their connections for a while; return what came of it."""
    crowds.order("forget")
    crowds.order("rates", messages=plan.messages, calls=plan.calls, breaks=plan.breaks)
    time.sleep(plan.seconds)
    crowds.order("rates", messages=0, calls=0, breaks=0)
    coming, arriving = Patience(plan.patience), Patience(_LATE)
    while True:  # those whose connection broke come back, and get what was kept for them
        totals = crowds.look()
        inside, arrived = sum(totals.phases[phase] for phase in _ALL), totals.counts["delivered"]
        late = arriving.is_over(arrived) or arrived == totals.counts["sent"]
        if coming.is_over(inside) or (inside == plan.users and late):
            break
        time.sleep(_LOOK)
    totals = crowds.totals()
    return {
        "seconds": plan.seconds,
        "counts": dict(totals.counts),
        "message_seconds": quantiles(totals.message_seconds),
        "failures": failures(totals),
        "phases": dict(totals.phases),
        "client_rss": totals.rss,
    }


def lose_a_node(lab: ScaleLab, crowds: Crowds, plan: Plan, stages: Stages) -> dict[str, Any]:
    """Kill one Prosody; return how long it took until all of its users were back, and what happened meanwhile."""
    victim = lab.nodes[-1].prosody
    had = asyncio.run(lab.counted_by_prosody())[victim.name]
    before = door(lab)
    crowds.order("forget")
    crowds.order("rates", at_once=plan.storm)
    awake = crowds.look().phases["open"]
    transactions = int(lab.postgresql.ask(_TRANSACTIONS, DATABASE))
    began, at = time.monotonic(), time.time()
    victim.kill()
    stages.begin()  # the killed one's CPU is gone with it
    most_clients, most_a_second, known, told = 0, 0, None, 0.0
    noticed, out, patience = False, True, Patience(plan.patience)
    while not patience.is_over((totals := crowds.look()).phases["open"]):
        seconds, now = time.monotonic() - began, door(lab)
        most_clients = max(most_clients, int(lab.postgresql.ask("SELECT count(*) FROM pg_stat_activity")))
        most_a_second = max(most_a_second, now.connections_a_second)
        if known is None and now.down.get(victim.name) == len(lab.haproxies):
            known = seconds
        noticed = noticed or totals.phases["open"] < awake
        out = totals.phases["open"] < awake
        if noticed and not out:
            break
        if seconds - told > _TOLD:
            told = seconds
            say(f"  {awake - totals.phases['open']} are out after {seconds:.0f} s")
        time.sleep(_LOOK)
    seconds, totals, now = time.monotonic() - began, crowds.totals(), door(lab)
    others = now.failures - before.failures
    others.pop(victim.name, None)
    return {
        "node": victim.name,
        "at": at,
        "sessions": had,
        "all_back": not out,
        "seconds": seconds,
        "logins": totals.counts["logins"],
        "login_seconds": quantiles(totals.login_seconds),
        "failures": failures(totals),
        "database_clients": most_clients,
        "transactions": int(lab.postgresql.ask(_TRANSACTIONS, DATABASE)) - transactions,
        "known_after": known,
        "connections_a_second": most_a_second,
        "retries": now.retries - before.retries,
        "refused": now.refused - before.refused,
        "others_down": others.total(),
        "by_prosody": asyncio.run(lab.counted_by_prosody()),
        "memory": memory_of_nodes(lab),
    }


def run(lab: ScaleLab, plan: Plan) -> dict[str, Any]:
    """Do everything; return the whole result as it is written to a file."""
    began = time.time()
    stages = Stages(lab)
    say(f"Starting {len(lab.nodes)} Prosodys, {len(lab.haproxies)} HAProxys and what watches them ...")
    for _ in lab.begin():
        pass
    accounts = asyncio.run(lab.make_accounts())
    stages.end("everything starts")
    until_scraped(lab)
    stages.end("nobody is there")
    empty, idle = memory_of_nodes(lab), costs(lab)
    with Crowds(lab.place, accounts, plan.asleep, lab.directory / "crowd.log") as crowds:
        stages.crowds = crowds
        stages.begin()
        say(f"{plan.users} users log in ...")
        transactions = int(lab.postgresql.ask(_TRANSACTIONS, DATABASE))
        entered = enter(crowds, plan)
        entered["transactions"] = int(lab.postgresql.ask(_TRANSACTIONS, DATABASE)) - transactions
        stages.end("everybody logs in")
        say(f"  all are in after {entered['seconds']:.0f} s")
        say(f"They live for {plan.seconds:.0f} s ...")
        lived = live(crowds, plan)
        stages.end("they live")
        full = costs(lab)
        until_scraped(lab)  # every source is asked again
        by_prosody = asyncio.run(lab.counted_by_prosody())
        result: dict[str, Any] = {
            "plan": plan.__dict__,
            "began": began,
            "nodes": len(lab.nodes),
            "haproxies": len(lab.haproxies),
            "entered": entered,
            "lived": lived,
            "truth": dict(crowds.look().phases),
            "by_prosody": by_prosody,
            "sources": sources(lab, by_prosody),
            "asked": asked(lab, plan.seconds + 2 * lab.prometheus.interval),
            "memory_empty": empty,
            "memory_full": memory_of_nodes(lab),
            "costs_idle": plain(idle),
            "costs": plain(full),
            "stalls": {node.prosody.name: asyncio.run(stalls(node)) for node in lab.nodes},
            "node_flaps": door(lab).failures.total(),
        }
        stages.end("they rest, and every source is asked")
        say(f"{lab.nodes[-1].prosody.name} is killed ...")
        result["lost"] = lose_a_node(lab, crowds, plan, stages)
        stages.end("a node is lost")
        say(f"  its {result['lost']['sessions']} users: {_back(result['lost'])}")
        lab.nodes[-1].prosody.start()
        time.sleep(plan.aftermath)
        result["truth_after"] = dict(crowds.look().phases)
        stages.end("the node comes back")
    ended = time.time()
    result["stages"] = stages.done
    result["alerts"] = alerts(lab, began, ended)
    result["killed_at"] = result["lost"]["at"] - began
    result["seconds"] = ended - began
    return result


def until_scraped(lab: ScaleLab) -> None:
    """Return once every target has been scraped after this call. Raises LabError if that takes four intervals."""
    began = time.time()
    while time.time() < began + 4 * lab.prometheus.interval + _LATE:
        samples = lab.prometheus.query("min(timestamp(up))")
        if samples and samples[0].value > began:
            return
        time.sleep(_LOOK)
    raise LabError(f"Prometheus has not scraped every target within {4 * lab.prometheus.interval} s")


def _back(lost: dict[str, Any]) -> str:
    return f"all are back after {lost['seconds']:.0f} s" if lost["all_back"] else "not all came back"


def quantiles(seconds: list[float]) -> dict[str, float | None]:
    """Return the quantiles by name."""
    return {name: quantile(share, seconds) for name, share in SHARES.items()}


def failures(totals: Totals) -> dict[str, int]:
    """Return why connections were lost or refused, and how often."""
    return {why.removeprefix("lost: "): number for why, number in totals.counts.items() if why.startswith("lost")}
