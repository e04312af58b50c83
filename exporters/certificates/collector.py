"""Turns one snapshot of the targets into metric families. Pure: no I/O, no clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prometheus_client.core import Metric

    from exporters.certificates.certificate import Certificate
    from exporters.certificates.snapshot import Observation, Snapshot

_DAY = 86400.0
_MAX_LABEL = 64  # characters; X.520's upper bound of a common name
_CERTIFICATE = ("target", "position", "subject_cn", "issuer_cn", "serial")


@dataclass(frozen=True)
class Family:
    """One family before it has samples.

    Args:
        name: as in the metric contract.
        labels: label names in the order in which values are given.
        help: what it means to the person on call.
    """

    name: str
    labels: tuple[str, ...]
    help: str


FAMILIES = {
    family.name: family
    for family in (
        Family(
            "ssl_certificate_expiry_days",
            ("target",),
            "Days until the first certificate of the chain expires; negative once it has. A certificate that a server "
            "sends along although no valid path needs it does not count. Last known while the probe fails.",
        ),
        Family(
            "ssl_certificate_not_after_timestamp_seconds",
            _CERTIFICATE,
            "When this certificate expires, in seconds since 1970. Position 0 is the server's own, or a file's first; "
            "subject_cn is its first DNS name if it has no common name.",
        ),
        Family(
            "ssl_certificate_not_before_timestamp_seconds",
            _CERTIFICATE,
            "When this certificate begins to be valid, in seconds since 1970.",
        ),
        Family(
            "ssl_certificate_trusted",
            ("target",),
            "1 if nothing is wrong with the certificates: trusted issuer, valid dates, right host, strong enough. "
            "Last known while the probe fails.",
        ),
        Family(
            "ssl_certificate_verification_info",
            ("target", "reason"),
            "What is wrong with the certificates, one series per reason, or reason ok; the value is 1.",
        ),
        Family(
            "ssl_certificate_served_matches_file",
            ("target",),
            "1 if the server serves the certificate of its file; 0 after a renewal until the server is reloaded.",
        ),
        Family(
            "ssl_certificate_probe_success",
            ("target",),
            "1 if the last probe saw all there is to see. It says nothing about the certificates' worth.",
        ),
        Family(
            "ssl_certificate_probe_info",
            ("target", "reason"),
            "Why the last probe failed, or reason ok; the value is 1.",
        ),
        Family(
            "ssl_certificate_last_probe_timestamp_seconds",
            ("target",),
            "When the last probe ended, in seconds since 1970. Old: the exporter has too few places or hangs.",
        ),
        Family(
            "ssl_certificate_probe_duration_seconds",
            ("target",),
            "Seconds the last probe took.",
        ),
        Family(
            "certificate_exporter_targets",
            (),
            "Targets in the configuration.",
        ),
        Family(
            "certificate_exporter_config_last_reload_successful",
            (),
            "1 if the last reload of the configuration was accepted; 0: the file is wrong, the old one is in use.",
        ),
        Family(
            "certificate_exporter_config_last_reload_success_timestamp_seconds",
            (),
            "When the configuration in use was read, in seconds since 1970.",
        ),
    )
}


def collect(snapshot: Snapshot | None) -> Iterator[Metric]:
    """Return every family of the exporter; of a target no certificate was ever seen of, only the probe's."""
    if snapshot is not None:
        yield from collect_targets(snapshot)
        yield _fill("certificate_exporter_targets", [((), snapshot.targets)])
        yield _fill("certificate_exporter_config_last_reload_successful", [((), snapshot.config_current)])
        yield _fill(
            "certificate_exporter_config_last_reload_success_timestamp_seconds", [((), snapshot.config_loaded_at)]
        )


def collect_targets(snapshot: Snapshot) -> Iterator[Metric]:
    """Return the families that are about targets, which is what /probe shows."""
    yield from _dates(snapshot)
    yield from _worth(snapshot)
    yield from _probes(snapshot)


def label(text: str) -> str:
    """Make a label value of what a stranger wrote into a certificate: printable, no quotes, at most 64 characters."""
    return "".join(c if c.isprintable() and c not in '"\\' else "?" for c in text[:_MAX_LABEL])


def _dates(snapshot: Snapshot) -> Iterator[Metric]:
    expiry: list[tuple[tuple[str, ...], float]] = []
    # By label values: two paths to one certificate are one series.
    series: dict[tuple[str, ...], Certificate] = {}
    for target, observation in _observations(snapshot):
        first = min(chain.first_expiry for chain in observation.chains.values())
        expiry.append(((target,), (first - snapshot.now).total_seconds() / _DAY))
        for chain in observation.chains.values():
            for position, one in enumerate(chain.certificates):
                names = (label(one.subject_cn), label(one.issuer_cn), label(one.serial))
                series.setdefault((target, str(position), *names), one)
    yield _fill("ssl_certificate_expiry_days", expiry)
    yield _fill(
        "ssl_certificate_not_after_timestamp_seconds",
        ((labels, one.not_after.timestamp()) for labels, one in series.items()),
    )
    yield _fill(
        "ssl_certificate_not_before_timestamp_seconds",
        ((labels, one.not_before.timestamp()) for labels, one in series.items()),
    )


def _worth(snapshot: Snapshot) -> Iterator[Metric]:
    trusted: list[tuple[tuple[str, ...], float]] = []
    reasons: list[tuple[tuple[str, ...], float]] = []
    serves: list[tuple[tuple[str, ...], float]] = []
    for target, observation in _observations(snapshot):
        wrong: dict[str, None] = {}
        judged = [chain.reasons for chain in observation.chains.values() if chain.reasons is not None]
        for found in judged:
            wrong.update(dict.fromkeys(found))
        if judged:
            trusted.append(((target,), not wrong))
            reasons.extend(((target, reason), 1) for reason in wrong or ("ok",))
        if observation.serves_file is not None:
            serves.append(((target,), observation.serves_file))
    yield _fill("ssl_certificate_trusted", trusted)
    yield _fill("ssl_certificate_verification_info", reasons)
    yield _fill("ssl_certificate_served_matches_file", serves)


def _probes(snapshot: Snapshot) -> Iterator[Metric]:
    standings = snapshot.standings
    yield _fill("ssl_certificate_probe_success", (((s.target,), s.failure is None) for s in standings))
    yield _fill("ssl_certificate_probe_info", (((s.target, s.failure or "ok"), 1) for s in standings))
    yield _fill("ssl_certificate_last_probe_timestamp_seconds", (((s.target,), s.probed_at) for s in standings))
    yield _fill("ssl_certificate_probe_duration_seconds", (((s.target,), s.duration) for s in standings))


def _observations(snapshot: Snapshot) -> Iterator[tuple[str, Observation]]:
    for standing in snapshot.standings:
        if standing.observation is not None:
            yield standing.target, standing.observation


def _fill(name: str, samples: Iterable[tuple[tuple[str, ...], float]]) -> GaugeMetricFamily:
    spec = FAMILIES[name]
    family = GaugeMetricFamily(spec.name, spec.help, labels=spec.labels)
    for labels, value in samples:
        family.add_metric(labels, float(value))
    return family
