"""`make drill`: breaks the lab once for every alert, and follows the alert from its cause to the person it wakes.

The faults are real and so is everything on the way: exporters, Prometheus, Alertmanager, its routes and inhibitions.
Only time is short: a scrape every 2 s instead of 30 s, and every `for`, window and wait of the rules divided alike.
That, and the thresholds no single machine can reach, is a file for `generate-rules --thresholds`, as an operator's is.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from alerts.catalogue import KNOBS
from alerts.thresholds import load
from lab.drill import faults
from lab.drill.report import REPORT, Result, report
from lab.drill.table import DRILLS, Drill
from lab.running.workspace import ROOT, LabError
from lab.servers.prometheus import seconds
from lab.stack import Lab
from xmpp.errors import XmppError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from alerts.thresholds import Threshold
    from lab.fakes.receivers import Notification

HASTE = 15  # how many times shorter than in production: 30 s between scrapes become 2
_HOLD = (4, 10)  # seconds: the shortest `for` is two scrapes, and of the longest ones nothing is learnt
RATE = 40.0  # things the lab's users do a second, so that the short windows hold enough pushes
PATIENCE = 90.0  # seconds for an alert to fire, once its cause is there
QUIET = 240.0  # seconds until nothing fires any more: a rate over 2 minutes takes as long to forget
NOTICE = 45.0  # seconds for Alertmanager to tell, two of its shortened group intervals
LOOK = 0.5
ROUTES = {"critical": "page", "warning": "ticket", "none": "deadmansswitch"}


def main() -> int:
    """Run the drills; return 0 if each alert did what it should and nothing else did, 1 if not, 130 if interrupted."""
    parser = argparse.ArgumentParser(prog="drill", description="Provoke every alert by breaking what it watches.")
    parser.add_argument("only", nargs="*", metavar="ALERT", help="these alerts alone; then no report is written")
    only = parser.parse_args().only
    if unknown := set(only) - {drill.alert for drill in DRILLS}:
        parser.error(f"there is no alert named {', '.join(sorted(unknown))}; the names are those of docs/runbooks/")
    try:
        with Lab() as lab:
            return _run(lab, [drill for drill in DRILLS if not only or drill.alert in only], complete=not only)
    except KeyboardInterrupt:
        print("\nStopped; nothing is left behind.")
        return 130
    except LabError as error:
        print(f"drill failed: {error}", file=sys.stderr)
        return 1


def _run(lab: Lab, drills: Sequence[Drill], *, complete: bool) -> int:
    began = time.monotonic()
    lab.prometheus.thresholds = _write_thresholds(lab.directory / "drill.yaml", load(KNOBS))
    lab.alertmanager.haste = HASTE
    lab.traffic.rate = RATE
    print("Starting everything on 127.0.0.1 ...", flush=True)
    for _ in lab.start_all():
        pass
    thresholds = load(KNOBS, lab.prometheus.thresholds)
    watch = Watch(lab)
    watch.until_quiet()
    print(f"All is well after {time.monotonic() - began:.0f} s. {len(drills)} drills:", flush=True)
    results: list[Result] = []
    for drill in drills:
        result = Result(drill, ROUTES[thresholds[drill.alert].severity], began=time.time())
        results.append(result)
        watch.begin()
        try:
            (_by_silence if drill.by_silence else _drill)(watch, drill, result)
        except (LabError, XmppError, OSError, AssertionError) as error:
            result.wrong.append(f"it broke off, and what comes after it was not drilled: {error}".splitlines()[0])
            break
        finally:
            print(result.line(), flush=True)
        if result.revived and not any(one.drill.breaking is faults.primary_lost for one in results):
            result.wrong.append(f"{', '.join(result.revived)} crashed")  # PostgreSQL had not been touched
    else:
        _wait_for_the_all_clear(watch, results)
    text = report(results, thresholds, load(KNOBS), HASTE, time.monotonic() - began)
    print(f"\n{text}")
    if complete:
        REPORT.write_text(text, encoding="utf-8")
        print(f"Written to {REPORT.relative_to(ROOT)}.")
    return 1 if any(result.wrong for result in results) else 0


def _write_thresholds(path: Path, defaults: dict[str, Threshold]) -> Path:
    """Write the overrides: every duration shortened, and the thresholds of the table of drills."""
    drills = {drill.alert: drill for drill in DRILLS}
    overrides = {
        alert: {
            "reason": "A drill on one machine, with shorter times.",
            "for": "0s"
            if threshold.hold == "0s"
            else f"{min(max(seconds(threshold.hold) // HASTE, _HOLD[0]), _HOLD[1])}s",
            **({"window": f"{seconds(threshold.window) // HASTE}s"} if threshold.window else {}),
            **({"value": value} if (value := drills[alert].value) else {}),
            **({"minimum": minimum} if (minimum := drills[alert].minimum) else {}),
        }
        for alert, threshold in defaults.items()
    }
    path.write_text(yaml.safe_dump(overrides), encoding="utf-8")
    return path


@dataclass
class Watch:
    """Looks at Prometheus and Alertmanager again and again, and remembers what it saw since `begin`.

    Attributes:
        silenced: alerts that Alertmanager kept to itself.
        revived: Prosodys that crashed and were started again.
    """

    lab: Lab
    silenced: set[str] = field(default_factory=set)
    revived: list[str] = field(default_factory=list)

    def begin(self) -> None:
        """Forget what was seen."""
        self.silenced, self.revived = set(), []

    def look(self) -> list[dict[str, Any]]:
        """Return the alerts that Prometheus has now, pending and firing."""
        self.revived += self.lab.revive()
        if self.lab.crashed():
            raise LabError("\n".join(self.lab.crashed()))
        alerts = self.lab.prometheus.alerts()
        if self.lab.alertmanager.running:
            self.silenced |= {
                alert["labels"]["alertname"]
                for alert in self.lab.alertmanager.alerts()
                if alert["status"]["state"] == "suppressed"
            }
        return alerts

    def until(self, holds: Callable[[list[dict[str, Any]]], object], patience: float) -> bool:
        """Look until something holds; tell whether it did in time."""
        deadline = time.monotonic() + patience
        while not holds(self.look()):
            if time.monotonic() > deadline:
                return False
            time.sleep(LOOK)
        return True

    def until_quiet(self) -> None:
        """Look until nothing is pending or fires but the Watchdog. Raises LabError if that takes too long."""

        def others(alerts: list[dict[str, Any]]) -> list[str]:
            return sorted({alert["labels"]["alertname"] for alert in alerts} - {"Watchdog"})

        if not self.until(lambda alerts: alerts and not others(alerts), QUIET):
            raise LabError(f"{', '.join(others(self.look()))} did not go away within {QUIET:g} s")

    def told(self, alert: str, since: float, *, resolved: bool = False) -> list[Notification]:
        """Return what the receivers were told of an alert since then."""
        return [
            one
            for one in self.lab.receivers.notifications()
            if one.alert == alert and one.at > since and one.resolved == resolved
        ]


def _drill(watch: Watch, drill: Drill, result: Result) -> None:
    """Break, wait for the alert, look who was told what, mend, and wait until all is quiet."""

    def found(alerts: list[dict[str, Any]], *states: str) -> list[dict[str, Any]]:
        return [
            alert
            for alert in alerts
            if alert["labels"]["alertname"] == drill.alert
            and alert["state"] in states
            and drill.labels.items() <= alert["labels"].items()
        ]

    with drill.breaking(watch.lab):
        if not watch.until(lambda alerts: found(alerts, "pending", "firing"), PATIENCE):
            result.wrong.append("the alert did not come")
        result.pending = time.time() - result.began
        if not result.wrong and not watch.until(lambda alerts: found(alerts, "firing"), PATIENCE):
            result.wrong.append("it was pending and did not fire")
        result.firing = time.time() - result.began
        alerts = found(watch.look(), "firing")
        if alerts:
            _check_who_was_told(watch, result, alerts[0])
            watch.until(lambda _: set(drill.silenced) <= watch.silenced, NOTICE)
        if not found(watch.look(), "firing"):
            result.wrong.append("it did not fire until the fault was mended")
    mended = time.time()
    watch.until(lambda alerts: not found(alerts, "firing"), QUIET)
    result.over = time.time()
    result.resolved = result.over - mended
    watch.until_quiet()
    _see_what_else_fired(watch, result)
    result.wrong += [f"{name} was not silenced" for name in drill.silenced if name not in watch.silenced]


def _see_what_else_fired(watch: Watch, result: Result) -> None:
    """Ask Prometheus what fired since the beginning, also between two looks."""
    since = math.ceil(time.time() - result.began)
    fired = watch.lab.prometheus.query(
        f'group by (alertname) (last_over_time(ALERTS{{alertstate="firing"}}[{since}s]))'
    )
    names = {sample.labels["alertname"] for sample in fired} - {result.drill.alert, "Watchdog"}
    result.beside = {name: name in watch.silenced for name in sorted(names)}
    result.revived = watch.revived
    result.wrong += [f"{name} fired too, unexplained" for name in result.beside if name not in result.drill.beside]


def _check_who_was_told(watch: Watch, result: Result, alert: dict[str, Any]) -> None:
    """Wait for the notification, with the alert's words, its runbook, and the name of what it is about."""
    if not watch.until(lambda _: watch.told(result.drill.alert, result.began), NOTICE):
        result.wrong.append("nobody was told")
        return
    result.told = time.time() - result.began
    said = alert["annotations"]
    about = [value for value in result.drill.labels.values() if value in said["summary"]]
    wanted = (said["description"], said["runbook_url"], *about)
    if not any(all(text in one.text for text in wanted) for one in watch.told(result.drill.alert, result.began)):
        result.wrong.append(f"no message says {' and '.join(about) or 'what it is'} with description and runbook")


def _by_silence(watch: Watch, drill: Drill, result: Result) -> None:
    """See the alert arrive in its rhythm, break, miss it, mend, and see it arrive again."""
    watch.until(lambda alerts: alerts, NOTICE)
    (alert,) = [alert for alert in watch.look() if alert["labels"]["alertname"] == drill.alert]
    _check_who_was_told(watch, result, alert)
    result.began = time.time()
    with drill.breaking(watch.lab):
        broken = time.time()
        watch.until(lambda _: False, NOTICE)  # as long as its receiver would wait before it raises the alarm
        result.pending = result.firing = time.time() - broken
        if watch.told(drill.alert, broken + LOOK):
            result.wrong.append("it went on arriving")
    mended = time.time()
    if not watch.until(lambda _: watch.told(drill.alert, mended), NOTICE):
        result.wrong.append("it did not arrive again")
    result.over = time.time()
    result.resolved = result.over - mended
    watch.until_quiet()
    _see_what_else_fired(watch, result)


def _wait_for_the_all_clear(watch: Watch, results: list[Result]) -> None:
    """Whoever was told that an alert fires is told, too, that it no longer does; and nobody else was told anything."""

    def missing() -> list[Result]:
        return [
            one
            for one in results
            if one.told is not None
            and not one.drill.by_silence
            and not watch.told(one.drill.alert, one.began, resolved=True)
        ]

    watch.until(lambda _: not missing(), NOTICE)
    for result in missing():
        result.wrong.append("nobody was told that it is over")
    for result in results:
        told = [one for one in watch.told(result.drill.alert, result.began) if one.at <= result.over]
        if others := {one.receiver for one in told} - {result.route}:
            result.wrong.append(f"{', '.join(others)} was told, not only {result.route}")
        for name in result.drill.silenced:
            if [one for one in watch.told(name, result.began) if one.at <= result.over]:
                result.wrong.append(f"somebody was told of {name} while this alert fired")


if __name__ == "__main__":
    sys.exit(main())
