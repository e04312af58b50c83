"""The drills of Prosody: its load, its settings, and Prosody itself; faults.py breaks it."""

from __future__ import annotations

from lab.drill import faults, monitoring_faults
from lab.drill.drill import Drill
from lab.drill.reasons import (
    GROWN,
    LATE,
    NO_DOOR,
    NOBODY_THERE,
    ON_1,
    ON_2,
    ONE_NODE_LEFT,
    SLOW_TRIES,
    TURNED_AWAY,
    VANISHED,
)

_SETTINGS = {
    "ProsodyRegistrationOpen": "allow_registration = true",
    "ProsodyEncryptionNotRequired": "c2s_require_encryption = false",
    "ProsodyPushRevealsContent": "push_notification_with_body = true",
    "ProsodyReadTimeoutHigh": "network_settings = { read_timeout = 840 }",
    "ProsodyHibernationTimeHigh": "smacks_hibernation_time = 600",
    "ProsodyAckDelayHigh": "smacks_max_ack_delay = 30",
}


def _reloaded(alert: str, line: str) -> Drill:
    return Drill(
        alert, f"{line}, reloaded", lambda lab: faults.configured(lab.nodes[0], f"{line}\n"), ON_1, beside=VANISHED
    )


PROSODY_DRILLS = (
    Drill(
        "ProsodySessionsHigh",
        "85 more users on prosody1",
        lambda lab: faults.crowd(lab.prosody, 80),
        ON_1,
        value=80,
    ),
    Drill(
        "ProsodySessionsCritical",
        "175 more users on prosody1",
        lambda lab: faults.crowd(lab.prosody, 170),
        ON_1,
        value=150,
        beside={
            "ProsodySessionsHigh": "the lower step of the same stairs",
            "ProsodySessionsCriticalSoon": GROWN,
            "ConnectionsHeadroomLow": "its limit is the same in this drill, and there are two nodes",
        },
        silenced=("ProsodySessionsHigh",),
    ),
    Drill(
        "ProsodySessionsCriticalSoon",
        "two more users on prosody1 each second",
        lambda lab: faults.growing_crowd(lab, 300, 150),
        ON_1,
        value=250,
        minimum=20,
        beside={
            "ProsodySessionsHigh": "its limit is 80 in this drill",
            "ProsodySessionsCritical": "its limit is 150 in this drill",
            "ConnectionsHeadroomLow": "its limit is 150 in this drill",
        },
        patience=120,
    ),
    Drill(
        "ProsodyMemoryHigh",
        "a string of 100 MB in Prosody",
        lambda lab: faults.ballast(lab.prosody, 100),
        ON_1,
        value=100e6,
    ),
    Drill(
        "ProsodyStanzaRateHigh",
        "25 users who do 400 things a second",
        lambda lab: faults.crowd(lab.prosody, 20, rate=400),
        ON_1,
        value=200,
        beside={
            "ProsodySessionsHigh": "users who come and go so fast leave many hibernated sessions; 80 is the limit here",
            "ProsodySessionsCriticalSoon": GROWN,
        },
    ),
    Drill(
        "ProsodyDown",
        "Prosody killed",
        lambda lab: faults.killed(lab.prosody),
        ON_1,
        beside={
            "HaproxyBackendNodesLow": ONE_NODE_LEFT,
            "CertificateProbeFailed": NO_DOOR,
            **NOBODY_THERE,
            **TURNED_AWAY,
        },
    ),
    Drill(
        "ProsodyProbeFails",
        "the exporter's WebSocket connection leads to a closed port",
        lambda lab: monitoring_faults.deaf(lab.nodes[0]),
        ON_1,
        beside={"TargetDown": "the exporter is restarted with the other address, and again"},
    ),
    Drill(
        "ProsodyEventLoopSlow",
        "a quarter of a second of work in every turn of Prosody's event loop",
        lambda lab: faults.blocked(lab.prosody, 0.25),
        ON_1,
        beside={
            **NOBODY_THERE,
            **LATE,
            **SLOW_TRIES,
            "HaproxyBackendNodesLow": "HAProxy's checks wait for the loop and take the node for dead",
            "HaproxyServerDown": "likewise",
            **TURNED_AWAY,
        },
    ),
    Drill(
        "ProsodyWebSocketLoginsImpossible",
        "consider_websocket_secure = false, restarted",
        lambda lab: faults.restarted_with(lab.nodes[0], "consider_websocket_secure = false\n"),
        ON_1,
        beside={
            "ProsodyDown": "on a busy machine the restart takes longer than its `for`",
            "CertificateProbeFailed": NO_DOOR,
            **NOBODY_THERE,
        },
    ),
    Drill("ProsodyStoresMessages", "mod_mam loaded", lambda lab: faults.loaded(lab.prosody, "mam"), ON_1),
    *(_reloaded(alert, line) for alert, line in _SETTINGS.items()),
    Drill(
        "ProsodyVersionOld",
        "prosody2 restarted with Debian's Prosody, the rest of the lab having a newer one",
        lambda lab: faults.older(lab.nodes[1].prosody),
        ON_2,
    ),
)
