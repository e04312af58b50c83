"""Turns one snapshot of the targets into metric families. Pure: no I/O, no clock."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from exporters.certificates.families import FAMILIES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.core import Metric

    from exporters.certificates.certificate import Certificate
    from exporters.certificates.snapshot import Observation, Snapshot

_DAY = 86400.0
_MAX_LABEL = 64  # characters; X.520's upper bound of a common name


def collect(snapshot: Snapshot | None) -> Iterator[Metric]:
    """Return every family; a target without any certificate seen so far has only the families about the probe."""
    if snapshot is not None:
        yield from collect_targets(snapshot)
        yield FAMILIES.fill(
            "certificate_exporter_targets", *(((kind,), count) for kind, count in snapshot.targets.items())
        )


def collect_targets(snapshot: Snapshot) -> Iterator[Metric]:
    """Return the families that are about targets, which is what /probe shows."""
    yield from _dates(snapshot)
    yield from _worth(snapshot)
    yield from _probes(snapshot)


@lru_cache(4096)  # most certificates are the same as in the last scrape
def label(text: str) -> str:
    """Make a label value of an untrusted text in a certificate: printable, no quotes, at most 64 characters."""
    return "".join(c if c.isprintable() and c not in '"\\' else "?" for c in text[:_MAX_LABEL])


def _dates(snapshot: Snapshot) -> Iterator[Metric]:
    expiry: list[tuple[tuple[str, ...], float]] = []
    lifetime: list[tuple[tuple[str, ...], float]] = []
    unreadable: list[tuple[tuple[str, ...], float]] = []
    # By label values: two paths to one certificate are one series.
    series: dict[tuple[str, ...], Certificate] = {}
    for target, observation in _observations(snapshot):
        first = min((chain.first for chain in observation.chains.values()), key=lambda one: one.not_after)
        expiry.append(((target,), (first.not_after - snapshot.now.timestamp()) / _DAY))
        lifetime.append(((target,), (first.not_after - first.not_before) / _DAY))
        unreadable.append(((target,), sum(chain.unreadable for chain in observation.chains.values())))
        for chain in observation.chains.values():
            for position, one in enumerate(chain.certificates):
                names = (label(one.subject_cn), label(one.issuer_cn), label(one.serial))
                series.setdefault((target, str(position), *names), one)
    yield FAMILIES.fill("ssl_certificate_expiry_days", *expiry)
    yield FAMILIES.fill("ssl_certificate_lifetime_days", *lifetime)
    yield FAMILIES.fill(
        "ssl_certificate_not_after_timestamp_seconds",
        *((labels, one.not_after) for labels, one in series.items()),
    )
    yield FAMILIES.fill(
        "ssl_certificate_not_before_timestamp_seconds",
        *((labels, one.not_before) for labels, one in series.items()),
    )
    yield FAMILIES.fill("ssl_certificate_unreadable_certificates", *unreadable)


def _worth(snapshot: Snapshot) -> Iterator[Metric]:
    trusted: list[tuple[tuple[str, ...], float]] = []
    reasons: list[tuple[tuple[str, ...], float]] = []
    serves: list[tuple[tuple[str, ...], float]] = []
    weak: list[tuple[tuple[str, ...], float]] = []
    for target, observation in _observations(snapshot):
        wrong: dict[str, None] = {}
        judged = [chain.reasons for chain in observation.chains.values() if chain.reasons is not None]
        for found in judged:
            wrong.update(dict.fromkeys(found))
        if judged:
            trusted.append(((target,), not wrong))
            reasons.extend(((target, reason), 1) for reason in wrong or ("ok",))
        weak.extend(((target, offer), accepted) for offer, accepted in sorted(observation.weak.items()))
        if observation.serves_file is not None:
            serves.append(((target,), observation.serves_file))
    yield FAMILIES.fill("ssl_certificate_trusted", *trusted)
    yield FAMILIES.fill("ssl_certificate_verification_info", *reasons)
    yield FAMILIES.fill("ssl_certificate_weak_handshake_accepted", *weak)
    yield FAMILIES.fill("ssl_certificate_served_matches_file", *serves)


def _probes(snapshot: Snapshot) -> Iterator[Metric]:
    standings = snapshot.standings
    yield FAMILIES.fill("ssl_certificate_probe_success", *(((s.target,), s.failure is None) for s in standings))
    yield FAMILIES.fill("ssl_certificate_probe_info", *(((s.target, s.failure or "ok"), 1) for s in standings))
    yield FAMILIES.fill(
        "ssl_certificate_last_probe_timestamp_seconds", *(((s.target,), s.probed_at) for s in standings)
    )
    yield FAMILIES.fill("ssl_certificate_probe_duration_seconds", *(((s.target,), s.duration) for s in standings))


def _observations(snapshot: Snapshot) -> Iterator[tuple[str, Observation]]:
    for standing in snapshot.standings:
        if standing.observation is not None:
            yield standing.target, standing.observation
