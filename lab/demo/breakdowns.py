"""The faults that `make demo FAULT=...` can show: what breaks, and which alert says so. The breaking is the drill's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.drill import faults, push_faults
from lab.fakes.providers import Mood

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from lab.stack import Lab


@dataclass(frozen=True)
class Breakdown:
    """One fault.

    Args:
        says: what is broken, as a sentence.
        alert: the alert that fires for it.
        begin: breaks the lab for as long as its context lasts.
    """

    says: str
    alert: str
    begin: Callable[[Lab], AbstractContextManager[None]]


BREAKDOWNS: dict[str, Breakdown] = {
    "gateway": Breakdown(
        "The push gateway of prosody1 hangs: no phone of that node rings.",
        "PushGatewayDown",
        lambda lab: faults.frozen(lab.nodes[0].push_gateway),
    ),
    "prosody": Breakdown("The Prosody of prosody1 hangs.", "ProsodyDown", lambda lab: faults.frozen(lab.prosody)),
    "coturn": Breakdown("coturn hangs.", "CoturnDown", lambda lab: faults.frozen(lab.coturn)),
    "postgresql": Breakdown("The replica postgres2 is gone.", "PostgresDown", lambda lab: faults.killed(lab.replica)),
    "haproxy": Breakdown("HAProxy hangs: nobody can log in.", "TargetDown", lambda lab: faults.frozen(lab.haproxy)),
    "apns": Breakdown(
        "Apple refuses every call.",
        "PushVoipFailuresHigh",
        lambda lab: push_faults.providers(lab, Mood(refusing=("apns",))),
    ),
}
