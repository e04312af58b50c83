"""The steps of one drill: break, see the alert and its notification, repair, see both end. It prints nothing."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

from lab.drill.watch import LOOK, QUIET, Watch

if TYPE_CHECKING:
    from lab.drill.report import Result
    from lab.drill.table import Drill

PATIENCE = 90.0  # seconds for an alert to fire, once its cause is there
NOTICE = 45.0  # seconds for Alertmanager to notify, two of its shortened group intervals


def drill_one(watch: Watch, drill: Drill, result: Result) -> None:
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


def drill_by_silence(watch: Watch, drill: Drill, result: Result) -> None:
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


def wait_for_the_all_clear(watch: Watch, results: list[Result]) -> None:
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
