"""The drills of what users get: what test users notice, and what Section 1 promises."""

from __future__ import annotations

from lab.drill import faults, haproxy_faults
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

_SLOW = {"ProsodyEventLoopSlow": "the event loop is slow", **LATE}

USER_DRILLS = (
    Drill(
        "SyntheticMessagesFailing",
        "mod_message unloaded on prosody2: messages bounce",
        lambda lab: faults.unloaded(lab.nodes[1].prosody, "message"),
        {"from": "prosody2", "to": "prosody2"},
    ),
    Drill(
        "SyntheticLoginsFailing",
        "prosody2 put into maintenance in HAProxy",
        lambda lab: haproxy_faults.drained(lab, "prosody2"),
        {"to": "prosody2"},
        beside={"HaproxyBackendNodesLow": ONE_NODE_LEFT},
    ),
    Drill(
        "SyntheticPresenceLate",
        "smacks_hibernation_time = 600, restarted: mod_smacks reads it only when it is loaded",
        lambda lab: faults.restarted_with(lab.nodes[0], "smacks_hibernation_time = 600\n"),
        {"journey": "presence_force_quit", "from": "prosody1"},
        beside={
            "ProsodyHibernationTimeHigh": "the setting is too long",
            "PresenceBoundHigh": "the setting is too long",
            "ProsodyDown": "on a busy machine the restart takes longer than its `for`",
            **NOBODY_THERE,
        },
    ),
    Drill(
        "PresenceBoundHigh",
        "network_settings = { read_timeout = 60 }, reloaded",
        lambda lab: faults.configured(lab.nodes[0], "network_settings = { read_timeout = 60 }\n"),
        ON_1,
        beside=VANISHED,
    ),
    Drill(
        "SyntheticTurnCredentialsFailing",
        "mod_turn_external unloaded on prosody1",
        lambda lab: faults.unloaded(lab.prosody, "turn_external"),
        {"journey": "turn_credentials", "from": "prosody1"},
        beside=VANISHED,
    ),
    Drill(
        "SyntheticRelayLosesMedia",
        "coturn frozen",
        lambda lab: faults.frozen(lab.coturn),
        {"of": "tries", "to": "coturn1"},
        beside={"CoturnDown": "it hangs", "CertificateProbeFailed": "its TLS port is gone with it", **SLOW_TRIES},
    ),
    Drill(
        "SyntheticJourneysMissing",
        "the exporter gets a fifth of the time it needs",
        lambda lab: faults.starved(lab.synthetic),
        value=0.4,  # of two tries in the window one may fall outside it
        beside={
            "MonitoringTargetDown": "it does not answer while it stands still",
            "TargetFlapping": "it answers some scrapes and not others",
        },
    ),
    Drill("SyntheticForeignSession", "somebody logs in as a test user", faults.thief),
    # The slow one first: its windows hold the fault longer than those of the fast one.
    *(
        Drill(
            alert,
            "a fifth of a second of work in every turn of both Prosodys' event loops",
            faults.all_blocked,
            {"sloth_slo": "message-fast"},
            minimum=60,
            beside=_SLOW,
        )
        for alert in ("PromiseBurnsSlowly", "PromiseBurnsFast")
    ),
    Drill(
        "ConnectionsHeadroomLow",
        "175 more users on prosody1",
        lambda lab: faults.crowd(lab.prosody, 170),
        value=150,
        beside={
            "ProsodySessionsHigh": "its limit is 80 in this drill",
            "ProsodySessionsCriticalSoon": GROWN,
            "ProsodySessionsCritical": "its limit is the same in this drill, and most sessions are on one node",
        },
    ),
    Drill(
        "KnownCause",
        "Prosody killed on prosody2",
        lambda lab: faults.killed(lab.nodes[1].prosody),
        ON_2,
        beside={
            "ProsodyDown": "it is the cause",
            "HaproxyBackendNodesLow": ONE_NODE_LEFT,
            "CertificateProbeFailed": NO_DOOR,
            **NOBODY_THERE,
            **TURNED_AWAY,
        },
        untold=True,
    ),
)
