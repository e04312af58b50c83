"""The steps of one drill: break, see the alert and its notification, repair, see both end. It prints nothing."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

from exporters.synthetic.names import ANY
from lab.drill.watch import LOOK, QUIET, Watch

if TYPE_CHECKING:
    from lab.drill.report import DrillResult
    from lab.drill.table import Drill

# Alerts about what users were promised, or Section 20 demands: they may fire beside any real fault.
PROMISES = ("Promise", "KnownCause", "ChecklistItemFails")
NOTICE = 45.0  # seconds for Alertmanager to notify, two of its shortened group intervals


def wait_for_the_earlier(watch: Watch, drill: Drill) -> None:
    """Wait until no earlier drill's fault is left of this alert: a promise of days remembers it for minutes."""
    if not drill.by_silence:
        watch.until(lambda alerts: not _of(drill, alerts, "pending", "firing"), QUIET)


def _of(drill: Drill, alerts: list[dict[str, Any]], *states: str) -> list[dict[str, Any]]:
    return [
        alert
        for alert in alerts
        if alert["labels"]["alertname"] == drill.alert
        and alert["state"] in states
        and drill.labels.items() <= alert["labels"].items()
    ]


def drill_one(watch: Watch, drill: Drill, result: DrillResult) -> None:
    """Break, wait for the alert and its notification, repair, and wait until no alert is left."""

    def found(alerts: list[dict[str, Any]], *states: str) -> list[dict[str, Any]]:
        return _of(drill, alerts, *states)

    with drill.breaking(watch.lab):
        if not watch.until(lambda alerts: found(alerts, "pending", "firing"), drill.patience):
            result.wrong.append("the alert did not become pending")
        result.pending = time.time() - result.began
        if not result.wrong and not watch.until(lambda alerts: found(alerts, "firing"), drill.patience):
            result.wrong.append("it was pending and did not fire")
        result.firing = time.time() - result.began
        alerts = found(watch.look(), "firing")
        if alerts and not drill.untold:
            _check_notification(watch, result, alerts[0])
            watch.until(lambda _: set(drill.silenced) <= watch.silenced, NOTICE)
        if not found(watch.look(), "firing"):
            result.wrong.append("it stopped firing before the repair")
    repaired = time.time()
    watch.until(lambda alerts: not found(alerts, "firing"), QUIET)
    result.over = time.time()
    result.resolved = result.over - repaired
    watch.until_quiet()
    _see_what_else_fired(watch, result)
    result.wrong += [f"{name} was not silenced" for name in drill.silenced if name not in watch.silenced]


def _see_what_else_fired(watch: Watch, result: DrillResult) -> None:
    """Query which other alerts fired since the beginning, between two looks too."""
    since = math.ceil(time.time() - result.began)
    fired = watch.lab.prometheus.query(
        f'group by (alertname, from, to) (last_over_time(ALERTS{{alertstate="firing"}}[{since}s]))'
    )
    names = {sample.labels["alertname"] for sample in fired} - {result.drill.alert, "Watchdog"}
    names = {name for name in names if not name.startswith(PROMISES)}
    result.beside = {name: name in watch.silenced for name in sorted(names)}
    result.revived = watch.revived
    result.wrong += [f"{name} fired too, unexplained" for name in result.beside if name not in result.drill.beside]
    broken = {node.prosody.name for node in watch.lab.nodes} & set(result.drill.labels.values())
    for sample in fired:
        between = {sample.labels[key] for key in ("from", "to") if key in sample.labels}
        if sample.labels["alertname"].startswith(PROMISES):  # they remember what the drill before broke
            continue
        if broken and between and not between & (broken | {ANY}):
            result.wrong.append(f"{sample.labels['alertname']} fired for {' and '.join(between)}, which nothing broke")


def _check_notification(watch: Watch, result: DrillResult, alert: dict[str, Any]) -> None:
    """Wait for the notification: with the alert's description, its runbook and the name of the node or target."""
    said = alert["annotations"]
    about = [value for value in result.drill.labels.values() if value in said["summary"]]
    descriptions = {said["description"]}  # its number may change from look to look, and each may have been sent

    def told(alerts: list[dict[str, Any]]) -> bool:  # another target's notification of the same alert may come first
        descriptions.update(one["annotations"]["description"] for one in _of(result.drill, alerts, "firing"))
        return any(
            all(text in one.text for text in (said["runbook_url"], *about))
            and any(description in one.text for description in descriptions)
            for one in watch.told(result.drill.alert, result.began)
        )

    if watch.until(told, NOTICE):
        result.told = time.time() - result.began
    elif watch.told(result.drill.alert, result.began):
        result.wrong.append(f"no notification has {' and '.join([*about, 'description', 'runbook'])}")
    else:
        result.wrong.append("nobody was notified")


def drill_by_silence(watch: Watch, drill: Drill, result: DrillResult) -> None:
    """See the alert arrive regularly, break, see that it no longer arrives, repair, and see it arrive again."""
    watch.until(lambda alerts: alerts, NOTICE)
    (alert,) = [alert for alert in watch.look() if alert["labels"]["alertname"] == drill.alert]
    _check_notification(watch, result, alert)
    result.began = time.time()
    with drill.breaking(watch.lab):
        broken = time.time()
        watch.until(lambda _: False, NOTICE)  # as long as the dead man's switch waits before it raises the alarm
        result.pending = result.firing = time.time() - broken
        if watch.told(drill.alert, broken + LOOK):
            result.wrong.append("it still arrived")
    repaired = time.time()
    if not watch.until(lambda _: watch.told(drill.alert, repaired), NOTICE):
        result.wrong.append("it did not arrive again")
    result.over = time.time()
    result.resolved = result.over - repaired
    watch.until_quiet()
    _see_what_else_fired(watch, result)


def wait_for_the_all_clear(watch: Watch, results: list[DrillResult]) -> None:
    """Check that each receiver of an alert was also notified of its end, and that no other receiver was notified."""

    def missing() -> list[DrillResult]:
        return [
            one
            for one in results
            if one.told is not None
            and not one.drill.by_silence
            and not watch.told(one.drill.alert, one.began, resolved=True)
        ]

    watch.until(lambda _: not missing(), NOTICE)
    for result in missing():
        result.wrong.append("nobody was notified of its end")
    for result in results:
        told = [one for one in watch.told(result.drill.alert, result.began) if one.at <= result.over]
        if others := {one.receiver for one in told} - {result.route, *result.drill.also}:
            result.wrong.append(f"{', '.join(others)} was notified, not only {result.route}")
        for name in result.drill.silenced:
            if [one for one in watch.told(name, result.began) if one.at <= result.over]:
                result.wrong.append(f"a notification of {name} was sent while this alert fired")
