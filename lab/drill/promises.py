"""`make promises`: kills a node and follows its promises: one page that names cause and promise, and the budget.

Every window is divided by 60, so an hour is a minute and 30 days are half a day; Alertmanager is the real one.
What the outage cost is counted twice, by the rules and from the test users' counters, and the two must agree. Both are
counted from the moment before the outage: what failed while everything started was over before the first scrape.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import yaml

from alerts.catalogue import KNOBS
from alerts.thresholds import load
from lab.drill import faults
from lab.drill.begin import in_a_lab, start
from lab.drill.thresholds import write_thresholds
from lab.drill.watch import Watch

if TYPE_CHECKING:
    from pathlib import Path

    from lab.stack import Lab

BEFORE = 90.0  # seconds of measuring before the node is killed
OUTAGE = 60.0  # seconds until it comes back
AFTER = 90.0  # seconds, in which no second page may come
_SLO = "login"
_COUNTED = 'synthetic_journeys_total{journey="login",result!="suspended"}'
_GOOD = 'synthetic_journeys_total{journey="login",result="ok"}'
_CLOSE = 0.1  # how far what the rules say may be from what was counted, of the latter


def main() -> int:
    """Run it; return 0 if there was one page and the budget fell by what was lost, else 1."""
    return in_a_lab("promises", _run)


def _thresholds(lab: Lab) -> Path:
    """Shorten every duration as a drill does; two nodes, of which one is enough, and a verdict after half a minute."""
    path = write_thresholds(lab.directory / "promises.yaml", load(KNOBS))
    wanted = yaml.safe_load(path.read_text(encoding="utf-8"))
    wanted["HaproxyBackendNodesLow"]["value"] = 1
    for alert in ("PromiseBurnsFast", "PromiseBurnsSlowly", "PromiseNotMeasured"):
        wanted[alert]["minimum"] = 30
    path.write_text(yaml.safe_dump(wanted), encoding="utf-8")
    return path


def _objectives(lab: Lab) -> Path:
    """Leave out what depends on how busy this machine is."""
    path = lab.directory / "objectives.yaml"
    path.write_text("message-fast: {severity: none, reason: A busy machine of its own delivers later than 100 ms.}\n")
    return path


def _run(lab: Lab) -> int:
    lab.prometheus.objectives = _objectives(lab)
    start(lab, _thresholds(lab))
    watch = Watch(lab)
    watch.until(lambda _: False, BEFORE)
    before = _count(lab)
    began = time.time()
    node = lab.nodes[1]
    print("Everything on prosody2 is killed.", flush=True)
    # The exporter comes back first: without it, and with the gateway, the node would be up and Prosody unwatched.
    with faults.killed(node.exporter, node.prosody, node.push_gateway):
        watch.until(lambda _: False, OUTAGE)
        print(f"  burns in Prometheus: {_burning(lab)}")
        back = time.time()
    print("It is back.", flush=True)
    watch.until(lambda _: False, AFTER)
    told = [one for one in lab.receivers.notifications() if one.receiver == "page" and one.at > began]
    pages = {(one.alert, one.text) for one in told if one.at < back and not one.resolved}
    for alert, text in sorted(pages):
        print(f"  page: {alert}: {text}")
    # The parts of a node come back one after the other; one that is late has a page of its own.
    later = {one.alert for one in told if one.at >= back and not one.resolved} - {alert for alert, _ in pages}
    print(f"  pages after it was back: {', '.join(sorted(later)) or 'none'}")
    wrong = [] if len({alert for alert, _ in pages}) == 1 else [f"{len(pages)} pages, not one"]
    wrong += ["a burn paged after it was back"] if "PromiseBurnsFast" in later else []
    wrong += [] if any("prosody2" in text and _SLO in text for _, text in pages) else ["no page names node and promise"]
    wrong += _compare(lab, before)
    for each in wrong:
        print(f"WRONG: {each}")
    return 1 if wrong else 0


def _burning(lab: Lab) -> str:
    found = lab.prometheus.query('ALERTS{alertname="PromiseBurnsFast"}')
    names = (f"{one.labels['sloth_slo']} ({one.labels.get('instance', 'no node')})" for one in found)
    return ", ".join(sorted(names)) or "none"


@dataclass(frozen=True)
class _Count:
    """What is known of the promise at one moment.

    Attributes:
        made, failed: tries, by the test users' counters.
        spent: failed tries, by the budget that is left.
        left: of the budget, as a share of it.
    """

    made: float
    failed: float
    spent: float
    left: float


def _count(lab: Lab) -> _Count:
    def ask(expression: str) -> float:
        (found,) = lab.prometheus.query(expression)
        return found.value

    made = ask(f"sum({_COUNTED})")
    left, budget, events = (
        ask(f'{name}{{sloth_slo="{_SLO}"}}')
        for name in ("slo:period_error_budget_remaining:ratio", "slo:error_budget:ratio", "slo:events:increase30d")
    )
    return _Count(made, made - ask(f"sum({_GOOD})"), (1 - left) * budget * events, left)


def _compare(lab: Lab, before: _Count) -> list[str]:
    """Compare what the outage cost the budget with what the test users counted meanwhile."""
    after = _count(lab)
    failed, spent = after.failed - before.failed, after.spent - before.spent
    print(f"  {_SLO}: {failed:.0f} of {after.made - before.made:.0f} tries failed; the budget paid for {spent:.1f}")
    print(f"  budget left: {before.left:.0%} before, {after.left:.0%} after")
    return [] if failed and abs(spent - failed) <= _CLOSE * failed else ["the budget did not fall by what was lost"]


if __name__ == "__main__":
    sys.exit(main())
