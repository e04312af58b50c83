"""The table of drills: for every alert a fault that really causes it, and the other alerts that may fire, and why."""

from __future__ import annotations

from lab.drill import faults, monitoring_faults, push_faults, server_faults
from lab.drill.drill import Drill
from lab.drill.host_table import HOST_DRILLS
from lab.fakes.providers import Mood

__all__ = ["DRILLS", "Drill"]

_ON_1 = {"instance": "prosody1"}
_ON_2 = {"instance": "prosody2"}
_WSS = {"instance": "monitoring", "target": "wss"}
_GROWN = "sessions have grown within a minute, which is the window here"
_ONE_NODE_LEFT = "one node is left behind HAProxy"
_CALLS_FAIL = "it counts the same failures, over six hours"
_ON_CHECKLIST = "the checklist has this, too"
_GATEWAY_RESTARTED_TWICE = {  # for the fault, and for its repair
    "PushGatewayDown": "it is down in between",
    "PushGatewayCrashLoop": "two restarts in a drill's short window look like a loop",
    "PushLatencyHigh": "pushes wait while it starts",
    "ChecklistItemFails": _ON_CHECKLIST,
}
_NO_DOOR = "the node's own port is gone with it"
_SLOW = {"ProsodyEventLoopSlow": "the event loop is slow"}
_VANISHED = {"SyntheticPresenceLate": "a test user vanished while a drill had set a longer read_timeout"}
# What test users notice, as all users do.
_NO_LOGINS = {"SyntheticLoginsFailing": "test users cannot log in either"}
_NOBODY_THERE = {
    **_NO_LOGINS,
    "SyntheticMessagesFailing": "test users lose messages, too",
    "SyntheticTurnCredentialsFailing": "test users get no TURN credentials either",
}
_TURNED_AWAY = {
    "HaproxyErrorsHigh": "HAProxy answers 503 for a node that is gone",
    "HaproxyRetriesHigh": "HAProxy tries it until its check has failed",
}
_SLOW_TRIES = {"SyntheticJourneysMissing": "a try that waits takes longer than its interval, which is short here"}
_NO_RELAY = {"SyntheticRelayLosesMedia": "test users get no relay either"}
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
        alert, f"{line}, reloaded", lambda lab: faults.configured(lab.nodes[0], f"{line}\n"), _ON_1, beside=_VANISHED
    )


DRILLS = (
    # First: killing Alertmanager loses the notifications that it has not sent yet.
    Drill(
        "Watchdog",
        "Alertmanager killed",
        lambda lab: faults.killed(lab.alertmanager),
        by_silence=True,
        beside={
            "MonitoringTargetDown": "Alertmanager is a target too",
            "NotificationsDropped": "nobody takes them while it is down",
        },
    ),
    # Early, while a tenth of the time that was measured is short.
    Drill(
        "PromiseNotMeasured",
        "the synthetic-user exporter killed",
        lambda lab: faults.killed(lab.synthetic),
        {"sloth_slo": "login"},
        minimum=60,
        beside={
            "MonitoringTargetDown": "it is a target too",
            "SyntheticJourneysMissing": "once it is back, the time without tries is in its window",
        },
    ),
    # Prosody
    Drill(
        "ProsodySessionsHigh",
        "85 more users on prosody1",
        lambda lab: faults.crowd(lab.prosody, 80),
        _ON_1,
        value=80,
    ),
    Drill(
        "ProsodySessionsCritical",
        "175 more users on prosody1",
        lambda lab: faults.crowd(lab.prosody, 170),
        _ON_1,
        value=150,
        beside={
            "ProsodySessionsHigh": "the lower step of the same stairs",
            "ProsodySessionsCriticalSoon": _GROWN,
            "ConnectionsHeadroomLow": "its limit is the same in this drill, and there are two nodes",
        },
        silenced=("ProsodySessionsHigh",),
    ),
    Drill(
        "ProsodySessionsCriticalSoon",
        "175 more users on prosody1 than a minute before",
        lambda lab: faults.crowd(lab.prosody, 170),
        _ON_1,
        value=250,
        minimum=20,
        beside={
            "ProsodySessionsHigh": "its limit is 80 in this drill",
            "ProsodySessionsCritical": "its limit is 150 in this drill",
            "ConnectionsHeadroomLow": "its limit is 150 in this drill",
        },
    ),
    Drill(
        "ProsodyMemoryHigh",
        "a string of 100 MB in Prosody",
        lambda lab: faults.ballast(lab.prosody, 100),
        _ON_1,
        value=100e6,
    ),
    Drill(
        "ProsodyStanzaRateHigh",
        "25 users who do 400 things a second",
        lambda lab: faults.crowd(lab.prosody, 20, rate=400),
        _ON_1,
        value=200,
        beside={
            "ProsodySessionsHigh": "users who come and go so fast leave many hibernated sessions; 80 is the limit here",
            "ProsodySessionsCriticalSoon": _GROWN,
        },
    ),
    Drill(
        "ProsodyDown",
        "Prosody killed",
        lambda lab: faults.killed(lab.prosody),
        _ON_1,
        beside={
            "HaproxyBackendNodesLow": _ONE_NODE_LEFT,
            "CertificateProbeFailed": _NO_DOOR,
            **_NOBODY_THERE,
            **_TURNED_AWAY,
        },
    ),
    Drill(
        "ProsodyProbeFails",
        "the exporter's WebSocket connection leads to a closed port",
        lambda lab: monitoring_faults.deaf(lab.nodes[0]),
        _ON_1,
        beside={"TargetDown": "the exporter is restarted with the other address, and again"},
    ),
    Drill(
        "ProsodyEventLoopSlow",
        "a quarter of a second of work in every turn of Prosody's event loop",
        lambda lab: faults.blocked(lab.prosody, 0.25),
        _ON_1,
        beside={
            **_NOBODY_THERE,
            "SyntheticPresenceLate": "what contacts see waits for the loop, too",
            **_SLOW_TRIES,
            "HaproxyBackendNodesLow": "HAProxy's checks wait for the loop and take the node for dead",
            "HaproxyServerDown": "likewise",
            **_TURNED_AWAY,
        },
    ),
    Drill(
        "ProsodyWebSocketLoginsImpossible",
        "consider_websocket_secure = false, restarted",
        lambda lab: faults.restarted_with(lab.nodes[0], "consider_websocket_secure = false\n"),
        _ON_1,
        beside={
            "ProsodyDown": "on a busy machine the restart takes longer than its `for`",
            "CertificateProbeFailed": _NO_DOOR,
            **_NOBODY_THERE,
        },
    ),
    Drill("ProsodyStoresMessages", "mod_mam loaded", lambda lab: faults.loaded(lab.prosody, "mam"), _ON_1),
    *(_reloaded(alert, line) for alert, line in _SETTINGS.items()),
    Drill(
        "ProsodyVersionOld",
        "prosody2 restarted with Debian's Prosody, the rest of the lab having a newer one",
        lambda lab: faults.older(lab.nodes[1].prosody),
        _ON_2,
    ),
    # Push gateway
    Drill("PushGatewayDown", "push gateway frozen", lambda lab: faults.frozen(lab.push_gateway), _ON_1),
    Drill(
        "PushVoipFailuresHigh",
        "APNs refuses every push (400 TopicDisallowed)",
        lambda lab: push_faults.providers(lab, Mood(refusing=("apns",))),
        beside={"PushCallsFailing": _CALLS_FAIL},
    ),
    Drill(
        "PushCallsFailing",
        "APNs refuses every push (400 TopicDisallowed)",
        lambda lab: push_faults.providers(lab, Mood(refusing=("apns",))),
        beside={"PushVoipFailuresHigh": "here calls are many, so their share is high too"},
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
        _ON_1,
        beside=_GATEWAY_RESTARTED_TWICE,
    ),
    Drill(
        "PushFcmFailuresHigh",
        "FCM refuses every push (403 PERMISSION_DENIED)",
        lambda lab: push_faults.providers(lab, Mood(refusing=("fcm",))),
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
        _ON_1,
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
        _ON_1,
        value=65e6,
        beside={"PushGatewayDown": "it is down in between"},
    ),
    # HAProxy, PostgreSQL, coturn
    Drill(
        "HaproxyBackendNodesLow",
        "prosody2 taken out of the backend",
        lambda lab: server_faults.drained(lab, "prosody2"),
        {"instance": "haproxy1", "proxy": "prosody_ws"},
        beside=_NO_LOGINS,
    ),
    Drill(
        "HaproxyNoNodes",
        "every node taken out of the backend",
        server_faults.all_drained,
        {"instance": "haproxy1", "proxy": "prosody_ws"},
        beside={"HaproxyBackendNodesLow": "none is fewer than two", **_NO_LOGINS, **_TURNED_AWAY},
        silenced=("HaproxyBackendNodesLow",),
    ),
    Drill(
        "HaproxyServerDown",
        "the way from HAProxy to prosody2 cut",
        lambda lab: server_faults.unreachable(lab, lab.nodes[1]),
        {"instance": "haproxy1", "server": "prosody2"},
        beside={"HaproxyBackendNodesLow": _ONE_NODE_LEFT, **_NO_LOGINS, **_TURNED_AWAY},
    ),
    Drill("PostgresSlotLost", "a slot made and never used", server_faults.unused_slot, {"instance": "postgres1"}),
    Drill(
        "ProsodyLoginsFail",
        "the table of the accounts renamed",
        server_faults.accounts_gone,
        minimum=3,
        beside=_NO_LOGINS,
    ),
    Drill(
        "PostgresDown",
        "replica killed",
        lambda lab: faults.killed(lab.replica),
        {"instance": "postgres2"},
        beside={
            "PostgresReplicaMissing": "it was the only replica",
            "PostgresReplicationLagHigh": "its slot keeps the WAL of pgbench",
        },
    ),
    Drill(
        "PostgresReplicationLagHigh",
        "the replica's receiver frozen while the primary writes 30 MB",
        server_faults.replica_behind,
        {"instance": "postgres1"},
    ),
    Drill("PostgresReplicaMissing", "replica cut off from its primary", server_faults.replica_cut_off),
    Drill(
        "PostgresNoPrimary",
        "primary killed",
        server_faults.primary_lost,
        {"job": "postgresql"},
        beside={
            "PostgresDown": "it is the primary that is down",
            "PostgresReplicaMissing": "a primary that is gone streams to nobody, nor at once when it is back",
            "MetricAbsent": "only the primary measures the lag; it may outlast the page by a scrape, and be sent then",
            "ProsodyLoginsFail": "Prosody asks the primary",
            **_NO_LOGINS,
            "ProsodyDown": "a Prosody whose PostgreSQL dies may crash with it: docs/prosody.md",
        },
        silenced=("PostgresDown",),
    ),
    Drill(
        "PostgresSplitBrain",
        "the replica promoted while the primary runs on",
        server_faults.replica_promoted,
        {"job": "postgresql"},
        beside={
            "PostgresReplicaMissing": "it is no replica any more",
            "PostgresDown": "it is made again from the primary afterwards",
            "TargetDown": "likewise",
        },
    ),
    Drill(
        "CoturnDown",
        "coturn killed",
        lambda lab: faults.killed(lab.coturn),
        {"instance": "coturn1"},
        beside={"CertificateProbeFailed": "its TLS port is gone with it", **_NO_RELAY, **_SLOW_TRIES},
    ),
    Drill(
        "CoturnAllocationsHigh",
        "60 allocations",
        lambda lab: server_faults.allocated(lab, 60),
        {"instance": "coturn1"},
        value=50,
    ),
    Drill(
        "CoturnQuotaNearlyUsed",
        "82 allocations or more of the 100 that total-quota allows",
        lambda lab: server_faults.allocated(lab, 82),
        {"instance": "coturn1"},
        beside={
            "CoturnAllocationsHigh": "its threshold, 5,000 by the specification, is 50 in this drill",
            "SyntheticRelayLosesMedia": "now and then no relay is left for a test user",
        },
    ),
    Drill(
        "CoturnPortsExhausted",
        "coturn restarted with four relay ports",
        server_faults.few_ports,
        {"instance": "coturn1"},
        beside=_NO_RELAY,
    ),
    # Certificates. First the alert that inhibits the others: the end of an inhibited alert is not notified.
    Drill("CertificateProbeFailed", "HAProxy takes no connection", server_faults.closed_door, _WSS, beside=_NO_LOGINS),
    Drill(
        "CertificateExpiringSoon",
        "HAProxy serves one with 10 days left",
        lambda lab: server_faults.served(lab, days=10),
        _WSS,
    ),
    Drill(
        "CertificateNotTrusted",
        "HAProxy serves one of an unknown authority",
        lambda lab: server_faults.served(lab, trusted=False),
        _WSS,
        beside=_NO_LOGINS,
    ),
    Drill("CertificateNotReloaded", "certificate renewed, HAProxy not reloaded", server_faults.not_reloaded, _WSS),
    # What users get
    Drill(
        "SyntheticMessagesFailing",
        "mod_message unloaded on prosody2: messages bounce",
        lambda lab: faults.unloaded(lab.nodes[1].prosody, "message"),
        {"from": "prosody2", "to": "prosody2"},
    ),
    Drill(
        "SyntheticLoginsFailing",
        "prosody2 put into maintenance in HAProxy",
        lambda lab: server_faults.drained(lab, "prosody2"),
        {"to": "prosody2"},
        beside={"HaproxyBackendNodesLow": _ONE_NODE_LEFT},
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
            **_NOBODY_THERE,
        },
    ),
    _reloaded("PresenceBoundHigh", "network_settings = { read_timeout = 60 }"),
    Drill(
        "SyntheticTurnCredentialsFailing",
        "mod_turn_external unloaded on prosody1",
        lambda lab: faults.unloaded(lab.prosody, "turn_external"),
        {"journey": "turn_credentials", "from": "prosody1"},
        beside=_VANISHED,
    ),
    Drill(
        "SyntheticRelayLosesMedia",
        "coturn frozen",
        lambda lab: faults.frozen(lab.coturn),
        {"of": "tries", "to": "coturn1"},
        beside={"CoturnDown": "it hangs", "CertificateProbeFailed": "its TLS port is gone with it", **_SLOW_TRIES},
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
    # What Section 1 promises
    Drill(
        "PromiseBurnsFast",
        "a fifth of a second of work in every turn of both Prosodys' event loops",
        faults.all_blocked,
        {"sloth_slo": "message-fast"},
        minimum=60,
        beside=_SLOW,
    ),
    Drill(
        "PromiseBurnsSlowly",
        "a fifth of a second of work in every turn of both Prosodys' event loops",
        faults.all_blocked,
        {"sloth_slo": "message-fast"},
        minimum=60,
        beside=_SLOW,
    ),
    Drill(
        "ConnectionsHeadroomLow",
        "175 more users on prosody1",
        lambda lab: faults.crowd(lab.prosody, 170),
        value=150,
        beside={
            "ProsodySessionsHigh": "its limit is 80 in this drill",
            "ProsodySessionsCriticalSoon": _GROWN,
            "ProsodySessionsCritical": "its limit is the same in this drill, and most sessions are on one node",
        },
    ),
    Drill(
        "KnownCause",
        "Prosody killed on prosody2",
        lambda lab: faults.killed(lab.nodes[1].prosody),
        _ON_2,
        beside={
            "ProsodyDown": "it is the cause",
            "HaproxyBackendNodesLow": _ONE_NODE_LEFT,
            "CertificateProbeFailed": _NO_DOOR,
            **_NOBODY_THERE,
            **_TURNED_AWAY,
        },
        untold=True,
    ),
    *HOST_DRILLS,
    # The monitoring itself
    Drill(
        "NodeDown",
        "everything on prosody2 killed",
        lambda lab: faults.killed(lab.nodes[1].prosody, lab.nodes[1].push_gateway, lab.nodes[1].exporter),
        _ON_2,
        beside={
            "TargetDown": "part of the node",
            "PushGatewayDown": "part of the node",
            "HaproxyBackendNodesLow": _ONE_NODE_LEFT,
            "CertificateProbeFailed": _NO_DOOR,
            **_NOBODY_THERE,
            **_TURNED_AWAY,
        },
        silenced=("TargetDown", "PushGatewayDown"),
    ),
    Drill(
        "TargetDown",
        "Prosody's exporter frozen",
        lambda lab: faults.frozen(lab.prosody_exporter),
        {"instance": "prosody1", "job": "prosody"},
    ),
    Drill(
        "MonitoringTargetDown",
        "certificate exporter killed",
        lambda lab: faults.killed(lab.certificate_exporter),
        {"instance": "monitoring", "job": "certificates"},
    ),
    Drill(
        "JobMissing",
        "targets/coturn.yml emptied",
        lambda lab: monitoring_faults.no_targets(lab, "coturn"),
        {"job": "coturn"},
    ),
    Drill(
        "AlertmanagerNotificationsFailing",
        "the ticket service answers 403",
        monitoring_faults.refused_tickets,
        {"instance": "monitoring", "integration": "webhook"},
        beside={"PostgresSlotLost": "the ticket that is refused"},
    ),
    Drill(
        "NotificationsDropped",
        "Alertmanager killed, and its notifications with it",
        lambda lab: faults.killed(lab.alertmanager),
        beside={"MonitoringTargetDown": "Alertmanager is a target too"},
        untold=True,
    ),
    Drill("RuleEvaluationFailing", "a rule that matches many with many", monitoring_faults.failing_rule),
    Drill("ConfigurationNotReloaded", "prometheus.yml broken and reloaded", monitoring_faults.broken_configuration),
    Drill(
        "TargetFileUnreadable", "targets/coturn.yml broken", lambda lab: monitoring_faults.broken_targets(lab, "coturn")
    ),
    Drill(
        "TargetInstanceNotUnique",
        "the target of coturn listed twice",
        lambda lab: monitoring_faults.duplicated(lab, "coturn"),
        {"scrape_job": "coturn"},
    ),
    Drill(
        "TargetFlapping",
        "coturn's exporter killed and started four times",
        lambda lab: monitoring_faults.flapping(lab, lab.coturn_exporter, 4),
        {"instance": "coturn1", "job": "coturn"},
        beside={"TargetDown": "it is down in between"},
    ),
    Drill(
        "ChecklistItemFails",
        "one admin left, reloaded",
        lambda lab: faults.configured(lab.nodes[0], 'admins = { "admin@commeazy.com" }\n'),
        {"id": "C4"},
    ),
    Drill(
        "MetricAbsent",
        "Prosody's exporter runs with --prosody.instrument=off",
        lambda lab: monitoring_faults.blind(lab.nodes[0]),
        {"instance": "prosody1", "metric": "prosody_c2s_sessions"},
    ),
)
