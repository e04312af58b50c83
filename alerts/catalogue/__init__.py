"""The catalogue of alerts: the name, expression and texts of each; the numbers are in thresholds.yaml."""

from typing import Final

from alerts.catalogue import certificates, monitoring, promises, prosody, push_gateway, servers, synthetic
from alerts.catalogue.alert import Alert, fill

GROUPS: Final[dict[str, tuple[Alert, ...]]] = {
    "prosody": prosody.ALERTS,
    "push-gateway": push_gateway.ALERTS,
    "servers": servers.ALERTS,
    "certificates": certificates.ALERTS,
    "synthetic": synthetic.ALERTS,
    "promises": promises.ALERTS,
    "monitoring": monitoring.ALERTS,
}
_ALL: Final = tuple(alert for alerts in GROUPS.values() for alert in alerts)
# Alerts that share a name share their numbers, too.
KNOBS: Final = {
    alert.name: frozenset[str]().union(*(each.knobs for each in _ALL if each.name == alert.name)) for alert in _ALL
}

__all__ = ["GROUPS", "KNOBS", "Alert", "fill"]
