"""From a snapshot to the text Prometheus reads."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector, CollectorRegistry

from exporters.certificates.certificate import Certificate
from exporters.certificates.collector import collect
from exporters.certificates.families import FAMILIES
from exporters.certificates.snapshot import Chain, Observation, Snapshot, Standing

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client.core import Metric

NOW = datetime(2026, 6, 1, tzinfo=UTC)
LEAF = Certificate(
    subject_cn="xmpp.commeazy.com",
    issuer_cn="R3",
    serial="0A",
    not_before=(NOW - timedelta(days=30)).timestamp(),
    not_after=(NOW + timedelta(days=60)).timestamp(),
    dns_names=(),
    ip_addresses=(),
    self_issued=False,
    rsa_bits=None,
    weakly_signed=False,
    common_name="commeazy.com",
    key="ecdsa",
    der=b"leaf",
)
ISSUER = replace(
    LEAF, subject_cn="R3", issuer_cn="Root", serial="0B", not_after=(NOW + timedelta(days=10.5)).timestamp()
)
CHAIN = Chain((LEAF, ISSUER), (), ISSUER)


def samples(*standings: Standing) -> dict[tuple[str, ...], float]:
    """Every sample by name and label values."""
    families: list[Metric] = list(collect(Snapshot(NOW, standings, {"tls": 4, "file": 1})))

    class Families(Collector):
        def collect(self) -> Iterable[Metric]:
            return families

    registry = CollectorRegistry()
    registry.register(Families())
    text = generate_latest(registry).decode().removesuffix("# EOF\n")  # type: ignore[no-untyped-call] # the library's
    found: dict[tuple[str, ...], float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, *(sample.labels[name] for name in FAMILIES[sample.name].labels))
            assert key not in found, "no series twice"
            found[key] = sample.value
    return found


def standing(*chains: Chain, failure: str | None = None, serves_file: bool | None = None) -> Standing:
    named = {str(number): chain for number, chain in enumerate(chains)}
    return Standing("wss", Observation(named, serves_file) if chains else None, failure, 1000.0, 0.25)


def test_the_first_certificate_to_expire_counts() -> None:
    assert samples(standing(CHAIN))["ssl_certificate_expiry_days", "wss"] == 10.5


def test_targets_are_counted_by_kind_also_before_the_first_probe() -> None:
    found = samples()
    assert (found["certificate_exporter_targets", "tls"], found["certificate_exporter_targets", "file"]) == (4, 1)


def test_the_lifetime_is_that_of_the_certificate_that_expires_first() -> None:
    found = samples(standing(replace(CHAIN, first=replace(ISSUER, not_before=ISSUER.not_after - 6 * 86400))))
    assert found["ssl_certificate_lifetime_days", "wss"] == 6


def test_days_are_negative_once_expired() -> None:
    gone = replace(CHAIN, first=replace(LEAF, not_after=(NOW - timedelta(hours=6)).timestamp()))
    assert samples(standing(gone))["ssl_certificate_expiry_days", "wss"] == -0.25


def test_each_certificate_has_its_dates() -> None:
    found = samples(standing(CHAIN))
    leaf, issuer = ("wss", "0", "xmpp.commeazy.com", "R3", "0A"), ("wss", "1", "R3", "Root", "0B")
    assert found["ssl_certificate_not_after_timestamp_seconds", *leaf] == LEAF.not_after
    assert found["ssl_certificate_not_before_timestamp_seconds", *leaf] == LEAF.not_before
    assert found["ssl_certificate_not_after_timestamp_seconds", *issuer] == ISSUER.not_after


def test_two_files_with_one_certificate_make_one_series() -> None:
    assert len([key for key in samples(standing(CHAIN, CHAIN)) if key[0].startswith("ssl_certificate_not_after")]) == 2


def test_names_that_only_differ_in_what_a_label_cannot_hold_make_one_series() -> None:
    evil = [Chain((replace(LEAF, subject_cn=cn, der=cn.encode()),), (), LEAF) for cn in ('a"', "a\n", "a\\")]
    found = samples(standing(*evil))
    assert ("ssl_certificate_not_after_timestamp_seconds", "wss", "0", "a?", "R3", "0A") in found


def test_what_is_wrong_in_any_chain_is_wrong_with_the_target() -> None:
    expired, weak = replace(CHAIN, reasons=("expired",)), replace(CHAIN, reasons=("expired", "weak_key"))
    found = samples(standing(CHAIN, expired, weak))
    assert found["ssl_certificate_trusted", "wss"] == 0
    assert [key[2] for key in found if key[0] == "ssl_certificate_verification_info"] == ["expired", "weak_key"]


def test_nothing_wrong_is_reason_ok() -> None:
    found = samples(standing(CHAIN))
    assert found["ssl_certificate_trusted", "wss"] == 1
    assert found["ssl_certificate_verification_info", "wss", "ok"] == 1


def test_a_failed_probe_keeps_the_dates_and_says_why() -> None:
    found = samples(standing(CHAIN, failure="timeout"))
    assert found["ssl_certificate_probe_success", "wss"] == 0
    assert found["ssl_certificate_probe_info", "wss", "timeout"] == 1
    assert found["ssl_certificate_expiry_days", "wss"] == 10.5
    assert found["ssl_certificate_last_probe_timestamp_seconds", "wss"] == 1000


def test_a_weak_handshake_that_was_not_tried_is_neither_accepted_nor_refused() -> None:
    seen = standing(CHAIN)
    assert seen.observation
    tried = replace(seen, observation=replace(seen.observation, weak={"weak_cipher": True}))
    name = "ssl_certificate_weak_handshake_accepted"
    assert {key: value for key, value in samples(tried).items() if key[0] == name} == {(name, "wss", "weak_cipher"): 1}


def test_a_target_that_was_never_seen_has_only_its_probe() -> None:
    found = samples(standing(failure="refused"))
    assert found["ssl_certificate_probe_success", "wss"] == 0
    assert ("ssl_certificate_expiry_days", "wss") not in found
    assert ("ssl_certificate_trusted", "wss") not in found


def test_a_chain_that_could_not_be_judged_is_neither_trusted_nor_not() -> None:
    found = samples(standing(replace(CHAIN, reasons=None)))
    assert ("ssl_certificate_trusted", "wss") not in found
    assert ("ssl_certificate_expiry_days", "wss") in found


def test_served_against_file_is_there_only_if_it_is_known() -> None:
    assert samples(standing(CHAIN, serves_file=False))["ssl_certificate_served_matches_file", "wss"] == 0
    assert samples(standing(CHAIN, serves_file=True))["ssl_certificate_served_matches_file", "wss"] == 1
    assert ("ssl_certificate_served_matches_file", "wss") not in samples(standing(CHAIN))


def test_every_family_of_the_table_is_exported_and_no_other() -> None:
    whole = standing(CHAIN, serves_file=True)
    assert whole.observation
    whole = replace(whole, observation=replace(whole.observation, weak={"weak_cipher": False}))
    snapshot = Snapshot(NOW, (whole,), {"tls": 1})
    families = list(collect(snapshot))
    assert [family.name for family in families] == list(FAMILIES)
    assert all(family.samples for family in families)
    assert list(collect(None)) == []
