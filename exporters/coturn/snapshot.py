"""What one reading of coturn gave, source by source, without the probe's own allocations. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from prometheus_client.core import Metric

    from exporters.coturn.log_statistics import Run
    from exporters.coturn.probe import ProbeOutcome
    from exporters.coturn.process import ProcessState

# Which source is believed, best first. The log comes after the sockets, as it can have gaps and made-up lines; the
# built-in endpoint comes last, as it is updated late.
SOURCES = ("cli", "relay_ports", "log", "endpoint")


@dataclass(frozen=True)
class Snapshot:
    """One reading.

    Args:
        sources: those that are switched on, and whether each worked.
        active: open allocations by source, of those that worked.
        process: None when there is none on this machine.
        run: counts from the log; None while it is not, or not yet wholly, read.
        relay_ports_used: None when the sockets could not be listed, or do not count allocations.
        relay_ports_capacity: of all relay addresses together; None if relays do not have a port each (multiplex-peer).
        total_quota: allocations allowed at once, 0 for no limit.
        bindings: STUN bindings by the best source that has them, and its name; None when none has.
        outcomes: of the last probe of each kind, by (probe, transport).
        failures: of all probes so far, by (probe, transport, reason).
        version: of coturn, "" when it does not say.
        log_in_place: whether coturn logs where its configuration says; None when that is not known.
        commented_options: options of turnserver.conf that hold a comment as part of their value.
        passed_through: families of coturn's built-in endpoint.
    """

    relay_ports_capacity: int | None
    total_quota: int
    commented_options: Sequence[str]
    sources: Mapping[str, bool] = field(default_factory=dict)
    active: Mapping[str, float] = field(default_factory=dict)
    process: ProcessState | None = None
    run: Run | None = None
    relay_ports_used: int | None = None
    bindings: tuple[float, str] | None = None
    outcomes: Mapping[tuple[str, str], ProbeOutcome] = field(default_factory=dict)
    failures: Mapping[tuple[str, str, str], int] = field(default_factory=dict)
    version: str = ""
    log_in_place: bool | None = None
    passed_through: Sequence[Metric] = ()

    @property
    def best(self) -> float | None:
        """Open allocations by the best source that works."""
        return next((self.active[source] for source in SOURCES if source in self.active), None)
