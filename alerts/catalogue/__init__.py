"""The catalogue of alerts: the name, expression and texts of each; the numbers are in thresholds.yaml."""

from typing import Final

from alerts.catalogue import certificates, monitoring, prosody, push_gateway, servers, synthetic
from alerts.catalogue.alert import Alert, fill

GROUPS: Final[dict[str, tuple[Alert, ...]]] = {
    "prosody": prosody.ALERTS,
    "push-gateway": push_gateway.ALERTS,
    "servers": servers.ALERTS,
    "certificates": certificates.ALERTS,
    "synthetic": synthetic.ALERTS,
    "monitoring": monitoring.ALERTS,
}
KNOBS: Final = {alert.name: alert.knobs for alerts in GROUPS.values() for alert in alerts}

__all__ = ["GROUPS", "KNOBS", "Alert", "fill"]
