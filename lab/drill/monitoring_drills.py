"""The drills of the monitoring itself: a target, a job or a rule that is missing; monitoring_faults.py breaks it."""

from __future__ import annotations

from lab.drill import faults, monitoring_faults
from lab.drill.drill import Drill
from lab.drill.reasons import NO_DOOR, NOBODY_THERE, ON_2, ONE_NODE_LEFT, TURNED_AWAY

MONITORING_DRILLS = (
    Drill(
        "NodeDown",
        "everything on prosody2 killed",
        lambda lab: faults.killed(lab.nodes[1].prosody, lab.nodes[1].push_gateway, lab.nodes[1].exporter),
        ON_2,
        beside={
            "TargetDown": "part of the node",
            "PushGatewayDown": "part of the node",
            "HaproxyBackendNodesLow": ONE_NODE_LEFT,
            "CertificateProbeFailed": NO_DOOR,
            **NOBODY_THERE,
            **TURNED_AWAY,
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
        also=("ticket",),
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
