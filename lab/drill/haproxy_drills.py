"""The drills of HAProxy, its limits and the certificates that it serves; haproxy_faults.py breaks them."""

from __future__ import annotations

from lab.drill import haproxy_faults
from lab.drill.drill import Drill
from lab.drill.reasons import NO_LOGINS, ONE_NODE_LEFT, TURNED_AWAY

_HOST = {"instance": "haproxy1"}
_WSS = {"instance": "monitoring", "target": "wss"}
_DOORS = {
    "HaproxyNoNodes": "no server takes connections",
    "HaproxyBackendNodesLow": "none is fewer than two",
    "HaproxyServerDown": "its check fails, too",
    "HaproxyErrorsHigh": "users are turned away",
    "HaproxyRetriesHigh": "connections are tried again",
    "HaproxyRequestsWait": "those that wait are in a queue",
    "CertificateProbeFailed": "the door is busy",
    **NO_LOGINS,
}


def _besides(*names: str) -> dict[str, str]:
    return {name: reason for name, reason in _DOORS.items() if name not in names}


HAPROXY_DRILLS = (
    Drill(
        "HaproxyBackendNodesLow",
        "prosody2 taken out of the backend",
        lambda lab: haproxy_faults.drained(lab, "prosody2"),
        {"instance": "haproxy1", "proxy": "prosody_ws"},
        beside=NO_LOGINS,
    ),
    Drill(
        "HaproxyNoNodes",
        "every node taken out of the backend",
        haproxy_faults.all_drained,
        {"instance": "haproxy1", "proxy": "prosody_ws"},
        beside={"HaproxyBackendNodesLow": "none is fewer than two", **NO_LOGINS, **TURNED_AWAY},
        silenced=("HaproxyBackendNodesLow",),
    ),
    Drill(
        "HaproxyServerDown",
        "the way from HAProxy to prosody2 cut",
        lambda lab: haproxy_faults.unreachable(lab, lab.nodes[1]),
        {"instance": "haproxy1", "server": "prosody2"},
        beside={"HaproxyBackendNodesLow": ONE_NODE_LEFT, **NO_LOGINS, **TURNED_AWAY},
    ),
    Drill(
        "HaproxyConnectionsHigh",
        "300 clients that connect and say nothing",
        lambda lab: haproxy_faults.idle_connections(lab, 300),
        _HOST,
        value=0.12,
    ),
    Drill(
        "HaproxyRequestsWait",
        "a maxconn of one for each server",
        haproxy_faults.narrow_servers,
        {**_HOST, "proxy": "prosody_ws"},
        beside=_besides("HaproxyRequestsWait"),
    ),
    Drill(
        "HaproxyErrorsHigh",
        "users connect while every node is taken out of the backend",
        haproxy_faults.turned_away,
        _HOST,
        beside=_besides("HaproxyErrorsHigh"),
    ),
    Drill(
        "HaproxyRetriesHigh",
        "users connect while the way to both nodes is cut",
        haproxy_faults.not_accepting,
        {**_HOST, "proxy": "prosody_ws"},
        beside=_besides("HaproxyRetriesHigh"),
    ),
    # Certificates. First the alert that inhibits the others: the end of an inhibited alert is not notified.
    Drill("CertificateProbeFailed", "HAProxy takes no connection", haproxy_faults.closed_door, _WSS, beside=NO_LOGINS),
    Drill(
        "CertificateExpiringSoon",
        "HAProxy serves one with 10 days left",
        lambda lab: haproxy_faults.served(lab, days=10),
        _WSS,
    ),
    Drill(
        "CertificateNotTrusted",
        "HAProxy serves one of an unknown authority",
        lambda lab: haproxy_faults.served(lab, trusted=False),
        _WSS,
        beside=NO_LOGINS,
    ),
    Drill("CertificateNotReloaded", "certificate renewed, HAProxy not reloaded", haproxy_faults.not_reloaded, _WSS),
)
