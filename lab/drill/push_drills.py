"""The drills of the push gateway, its providers and the phones; push_faults.py breaks them."""

from __future__ import annotations

from lab.drill import faults, push_faults
from lab.drill.drill import Drill
from lab.drill.reasons import ON_1
from lab.fakes.providers import Mood

_CALLS_FAIL = "it counts the calls among these failures, over six hours"
_ON_CHECKLIST = "the checklist has this, too"
_GATEWAY_RESTARTED_TWICE = {  # for the fault, and for its repair
    "PushGatewayDown": "it is down in between",
    "PushGatewayCrashLoop": "two restarts in a drill's short window look like a loop",
    "PushLatencyHigh": "pushes wait while it starts",
    "ChecklistItemFails": _ON_CHECKLIST,
}

PUSH_DRILLS = (
    Drill("PushGatewayDown", "push gateway frozen", lambda lab: faults.frozen(lab.push_gateway), ON_1),
    Drill(
        "PushVoipFailuresHigh",
        "APNs refuses every push (400 TopicDisallowed)",
        lambda lab: push_faults.providers(lab, Mood(refusing=("apns",))),
        beside={"PushCallsFailing": _CALLS_FAIL},
    ),
    Drill(
        "PushCallsFailing",
        "FCM refuses every push (403 PERMISSION_DENIED), calls to Android among them",
        lambda lab: push_faults.providers(lab, Mood(refusing=("fcm",))),
        beside={"PushFcmFailuresHigh": "here pushes are many, so their share is high too"},
    ),
    Drill(
        "PushVoipCredentialsInvalid",
        "the APNs key overwritten, gateways reloaded",
        lambda lab: push_faults.spoiled(lab, lab.providers.key_path),
        beside={"ChecklistItemFails": _ON_CHECKLIST},
    ),
    Drill(
        "PushFcmCredentialsInvalid",
        "the service account overwritten, gateways reloaded",
        lambda lab: push_faults.spoiled(lab, lab.providers.account_path),
        beside={"ChecklistItemFails": _ON_CHECKLIST},
    ),
    Drill(
        "PushProviderUnreachable",
        "APNs and FCM gone",
        lambda lab: faults.killed(lab.providers),
        beside={
            "PushVoipFailuresHigh": "no call is delivered",
            "PushFcmFailuresHigh": "no message is delivered",
            "PushCallsFailing": _CALLS_FAIL,
            "PushLatencyHigh": "each push waits for a provider until it is too old",
            "ChecklistItemFails": _ON_CHECKLIST,
        },
    ),
    Drill(
        "PushKeyFileExposed",
        "chmod 644 on the APNs key",
        lambda lab: push_faults.exposed(lab.providers.key_path),
        {"handler": "voip"},
    ),
    Drill(
        "PushCanaryLost",
        "a canary on prosody1 whose phone never comes",
        push_faults.lost_canary,
        {"handler": "fcm"},
        beside=_GATEWAY_RESTARTED_TWICE,
    ),
    Drill(
        "PushesWakeNobody",
        "APNs and FCM accept every push and deliver none",
        lambda lab: push_faults.providers(lab, Mood(losing=1)),
        minimum=3,
        patience=240.0,  # a phone has a minute to come, and those that came before must leave the window
    ),
    Drill(
        "PushSecretRefused",
        "a new secret for the gateway, not for Prosody",
        push_faults.another_secret,
        ON_1,
        beside=_GATEWAY_RESTARTED_TWICE,
    ),
    Drill(
        "PushFcmFailuresHigh",
        "FCM refuses every push (403 PERMISSION_DENIED)",
        lambda lab: push_faults.providers(lab, Mood(refusing=("fcm",))),
        beside={"PushCallsFailing": _CALLS_FAIL},
    ),
    Drill(
        "PushLatencyHigh",
        "APNs and FCM answer after 3 s",
        lambda lab: push_faults.providers(lab, Mood(delay=3.0)),
        minimum=3,
    ),
    Drill(
        "PushGatewayCrashLoop",
        "push gateway killed and restarted three times",
        lambda lab: push_faults.crash_loop(lab, lab.push_gateway, 3),
        ON_1,
        beside={
            "PushGatewayDown": "it is down in between",
            "TargetFlapping": "likewise, seen by Prometheus",
            "PushLatencyHigh": "pushes wait for its next start",
            "ChecklistItemFails": _ON_CHECKLIST,
        },
    ),
    Drill(
        "PushGatewayMemoryHigh",
        "2,000 clients that never finish their request; a restart repairs it",
        lambda lab: push_faults.half_requests(lab.push_gateway, lab.push_gateway.port, 2000),
        ON_1,
        value=65e6,
        beside={"PushGatewayDown": "it is down in between"},
    ),
)
