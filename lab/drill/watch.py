"""Watches Prometheus and Alertmanager during a drill; it breaks nothing and judges nothing."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lab.running.workspace import LabError

if TYPE_CHECKING:
    from collections.abc import Callable

    from lab.fakes.receivers import Notification
    from lab.stack import Lab

LOOK = 0.5  # seconds between two looks
QUIET = 420.0  # seconds until no alert is left: a promise of three days, hastened, takes that long to forget
# They go on after the repair, for as long as their windows remember, and what they silence is no other drill's.
LINGERING = ("Watchdog", "KnownCause", "PromiseBurnsFast", "PromiseBurnsSlowly", "ChecklistItemFails")


@dataclass
class Watch:
    """Polls Prometheus and Alertmanager, and remembers what it saw since `begin`.

    Attributes:
        silenced: alerts that Alertmanager suppressed.
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
        """Look until no alert but those that linger is pending or firing. Raises LabError if that takes too long."""

        def others(alerts: list[dict[str, Any]]) -> list[str]:
            return sorted({alert["labels"]["alertname"] for alert in alerts} - {*LINGERING})

        if not self.until(lambda alerts: alerts and not others(alerts), QUIET):
            raise LabError(f"{', '.join(others(self.look()))} did not go away within {QUIET:g} s")

    def told(self, alert: str, since: float, *, resolved: bool = False) -> list[Notification]:
        """Return the notifications about an alert since then."""
        return [
            one
            for one in self.lab.receivers.notifications()
            if one.alert == alert and one.at > since and one.resolved == resolved
        ]
