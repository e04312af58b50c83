"""The table of drills: one for every alert, in the order in which `make drill` runs them."""

from __future__ import annotations

from lab.drill import faults
from lab.drill.coturn_drills import COTURN_DRILLS
from lab.drill.drill import Drill
from lab.drill.haproxy_drills import HAPROXY_DRILLS
from lab.drill.host_drills import HOST_DRILLS
from lab.drill.monitoring_drills import MONITORING_DRILLS
from lab.drill.postgresql_drills import POSTGRESQL_DRILLS
from lab.drill.prosody_drills import PROSODY_DRILLS
from lab.drill.push_drills import PUSH_DRILLS
from lab.drill.user_drills import USER_DRILLS

__all__ = ["DRILLS", "Drill"]

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
        minimum=10,  # what was measured when the first drill begins
        beside={
            "MonitoringTargetDown": "it is a target too",
            "SyntheticJourneysMissing": "once it is back, the time without tries is in its window",
        },
    ),
    *PROSODY_DRILLS,
    *PUSH_DRILLS,
    *HAPROXY_DRILLS,
    *POSTGRESQL_DRILLS,
    *COTURN_DRILLS,
    *USER_DRILLS,
    *HOST_DRILLS,
    *MONITORING_DRILLS,
)
