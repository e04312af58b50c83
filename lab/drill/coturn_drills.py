"""The drills of coturn: its allocations, its quota and its ports; coturn_faults.py breaks it."""

from __future__ import annotations

from lab.drill import coturn_faults, faults
from lab.drill.drill import Drill
from lab.drill.reasons import NO_RELAY, SLOW_TRIES

COTURN_DRILLS = (
    Drill(
        "CoturnDown",
        "coturn killed",
        lambda lab: faults.killed(lab.coturn),
        {"instance": "coturn1"},
        beside={"CertificateProbeFailed": "its TLS port is gone with it", **NO_RELAY, **SLOW_TRIES},
    ),
    Drill(
        "CoturnAllocationsHigh",
        "60 allocations",
        lambda lab: coturn_faults.allocated(lab, 60),
        {"instance": "coturn1"},
        value=50,
    ),
    Drill(
        "CoturnQuotaNearlyUsed",
        "82 allocations or more of the 100 that total-quota allows",
        lambda lab: coturn_faults.allocated(lab, 82),
        {"instance": "coturn1"},
        beside={
            "CoturnAllocationsHigh": "its threshold, 5,000 by the specification, is 50 in this drill",
            "SyntheticRelayLosesMedia": "now and then no relay is left for a test user",
        },
    ),
    Drill(
        "CoturnPortsExhausted",
        "coturn restarted with four relay ports",
        coturn_faults.few_ports,
        {"instance": "coturn1"},
        beside=NO_RELAY,
    ),
)
