"""The catalogue of alerts: the name, expression and texts of each; the numbers are in thresholds.yaml."""

from typing import Final

from alerts.catalogue import (
    certificates,
    hosts,
    monitoring,
    postgresql,
    promises,
    prosody,
    push_gateway,
    servers,
    synthetic,
)
from alerts.catalogue.alert import Alert, fill
from alerts.recording import RECORDINGS

GROUPS: Final[dict[str, tuple[Alert, ...]]] = {
    "prosody": prosody.ALERTS,
    "push-gateway": push_gateway.ALERTS,
    "servers": (*servers.ALERTS, *postgresql.ALERTS),
    "hosts": hosts.ALERTS,
    "certificates": certificates.ALERTS,
    "synthetic": synthetic.ALERTS,
    "promises": promises.ALERTS,
    "monitoring": monitoring.ALERTS,
}
_ALL: Final = tuple(alert for alerts in GROUPS.values() for alert in alerts)
# Their window is in what is recorded for them.
_WINDOWS: Final = {recording.serves for recording in RECORDINGS if "<window>" in recording.expr}
# Alerts that share a name share their numbers, too.
KNOBS: Final = {
    alert.name: frozenset[str]().union(*(each.knobs for each in _ALL if each.name == alert.name))
    | ({"window"} if alert.name in _WINDOWS else set())
    for alert in _ALL
}

__all__ = ["GROUPS", "KNOBS", "Alert", "fill"]
