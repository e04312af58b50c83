"""From results to metric families: every series from the start, and nothing good that did not happen."""

from __future__ import annotations

import re

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.registry import Collector

from exporters.synthetic import names
from exporters.synthetic.collector import collect
from exporters.synthetic.families import FAMILIES
from exporters.synthetic.snapshot import JourneyPlace
from exporters.synthetic.tally import Tally
from lab.running.workspace import ROOT
from lab.scraping import ScrapedPage

PAIR = JourneyPlace("message", "prosody1", "prosody2")
RELAY = ("coturn1", "udp")


def made() -> Tally:
    return Tally([PAIR], [RELAY], {"message": 15.0}, "main")


def page(tally: Tally, *, foreign: int = 0) -> ScrapedPage:
    class Families(Collector):
        def collect(self):  # type: ignore[no-untyped-def]  # noqa: ANN202
            return collect(tally.snapshot({("prosody1", "sender"): False}, foreign, 0))

    registry = CollectorRegistry()
    registry.register(Families())
    return ScrapedPage(generate_latest(registry).decode())


def test_every_series_is_there_from_the_start() -> None:
    fresh = page(made())
    for result in names.RESULTS:
        assert fresh("synthetic_journeys_total", journey="message", result=result) == 0
    assert fresh("synthetic_journey_seconds_count", journey="message", to="prosody2") == 0
    assert fresh("synthetic_turn_packets_total", result="lost") == 0
    assert fresh("synthetic_session_up", node="prosody1") == 0
    assert fresh("synthetic_foreign_sessions") == 0


def test_what_is_unknown_has_no_series() -> None:
    fresh = page(made())
    for name in ("last_success_timestamp_seconds", "turn_jitter_seconds", "turn_credential_lifetime_seconds"):
        assert f"synthetic_{name}" not in fresh.names


def test_the_promises_are_edges() -> None:
    edges = {sample.labels.get("le") for sample in page(made()).samples}
    assert edges >= {"0.1", "2.0", "5.0", "90.0", "150.0"}


def test_only_what_went_well_has_a_duration() -> None:
    tally = made()
    tally.record(PAIR, "ok", 0.02)
    tally.record(PAIR, "timeout", 5.0)
    tally.record(PAIR, "a word nobody knows", 5.0)
    seen = page(tally)
    assert seen("synthetic_journey_seconds_count", journey="message") == 1
    assert seen("synthetic_journey_seconds_sum", journey="message") == 0.02
    assert seen.by("synthetic_journeys_total", "result") == {"ok": 1, "timeout": 1, "protocol": 1}
    assert seen("synthetic_journey_seconds_bucket", journey="message", le="0.025") == 1
    assert seen("synthetic_journey_seconds_bucket", journey="message", le="0.01") == 0


def test_a_packet_is_returned_or_lost() -> None:
    tally = made()
    tally.media(RELAY, 100, [0.01] * 97, 0.002)
    assert page(tally).by("synthetic_turn_packets_total", "result") == {"sent": 100, "returned": 97, "lost": 3}


def test_the_page_has_no_other_families_than_the_table() -> None:
    tally = made()
    tally.record(PAIR, "ok", 0.02)
    tally.media(RELAY, 2, [0.01, 0.02], 0.002)
    tally.lifetime("prosody1", 86400)
    families = {
        re.sub(r"_(bucket|count|sum|created)$", "", name) for name in page(tally).names if not name.endswith("_created")
    }
    assert families == set(FAMILIES)


def test_the_operators_page_explains_every_result_and_no_other() -> None:
    text = (ROOT / "docs" / "synthetic.md").read_text()
    explained = re.findall(r"^\| `([a-z_]+)` \| ([^|]+) \|$", text, re.MULTILINE)
    assert dict(explained) == names.RESULTS
    for journey in names.JOURNEYS:
        assert f"`{journey}`" in text
