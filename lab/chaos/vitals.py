"""What Prometheus says of everybody's health: one yes or no for each statement, by name. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from check.prometheus import Sample


@dataclass(frozen=True)
class Statement:
    """One metric as a statement about health.

    Args:
        labels: those that tell its series apart, and so go into the name.
        least: healthy from this value on.
        most: and up to this one.
        only: labels that a series must have to count.
    """

    labels: tuple[str, ...] = ("instance",)
    least: float = 1
    most: float = 1
    only: tuple[tuple[str, str], ...] = ()


STATEMENTS = {
    "up": Statement(("job", "instance")),
    "prosody_up": Statement(),
    "coturn_up": Statement(),
    "coturn_probe_success": Statement(("instance", "probe", "transport")),
    "coturn_exporter_source_up": Statement(("instance", "source")),
    "coturn_log_in_configured_place": Statement(),
    "push_gateway_up": Statement(),
    "push_provider_state": Statement(("instance", "handler")),
    # Not of health by itself; but with the judge's call and message a second, four at once are stuck.
    "push_inflight": Statement(("instance", "handler"), least=0, most=3),
    "ssl_certificate_probe_success": Statement(("target",)),
    "haproxy_backend_up": Statement(least=2, most=2),
    "haproxy_server_status": Statement(("server",), only=(("proxy", "prosody_ws"), ("state", "UP"))),
    "pg_up": Statement(),
}
QUESTION = f'{{__name__=~"{"|".join(STATEMENTS)}"}}'

States = dict[str, bool]  # by name; a statement that is not made is missing


def read(samples: Iterable[Sample]) -> States:
    """Return what these samples say, by names such as `up prosody prosody1`."""
    states = {}
    for sample in samples:
        name = sample.labels["__name__"]
        statement = STATEMENTS[name]
        if all(sample.labels.get(label) == value for label, value in statement.only):
            key = " ".join([name, *(sample.labels[label] for label in statement.labels)])
            states[key] = statement.least <= sample.value <= statement.most
    return states


def sick(states: Mapping[str, bool], names: Iterable[str]) -> list[str]:
    """Return which of these are not said to be well."""
    return [name for name in names if not states.get(name, False)]
