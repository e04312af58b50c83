"""A young system: an item is unknown until each of its places was measured, however right the others are."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
import yaml

from check.documents import RULES
from check.items import checklist
from tests.alerts.promql import selectors

if TYPE_CHECKING:
    from pathlib import Path

Series = dict[str, str]
# One sample a minute. A count from the beginning, and one that begins after ten minutes; a gauge that is there then.
ALWAYS, LATER, APPEARS = "0+1x60", "0x9 0+1x50", "_x9 {}x50"
COUNTERS = ("_total", "_bucket", "_count", ":p99")
# Items that read counters and need no `unmeasured`, with the reason.
WHOLE = {
    "E6": "one phone that woke is enough, and without any push there is no sample",
    "E12": "likewise",
    "H7": "it fails until the first message was measured",
}


def _journeys(journey: str, edge: str, tries: str, to: str = "prosody1") -> Series:
    place = f'job="synthetic",instance="monitoring",vantage="main",journey="{journey}",from="prosody1",to="{to}"'
    return {
        f'synthetic_journeys_total{{{place},result="ok"}}': tries,
        f'synthetic_journeys_total{{{place},result="timeout"}}': "0x60",
        f'synthetic_journeys_total{{{place},result="auth"}}': "0x60",
        f'synthetic_journey_seconds_bucket{{{place},le="{edge}"}}': tries,
    }


def _lifetimes(node: str, lifetime: str) -> Series:
    return _journeys("turn_credentials", "5.0", ALWAYS, node) | {
        f'synthetic_journeys_total{{job="synthetic",instance="monitoring",vantage="main",journey="turn_credentials",'
        f'from="{node}",to="{node}",result="ok"}}': ALWAYS,
        f'synthetic_turn_credential_lifetime_seconds{{job="synthetic",instance="monitoring",vantage="main",'
        f'from="{node}"}}': lifetime,
    }


def _requests(instance: str, taken: str) -> Series:
    return {
        f'up{{job="push-gateway",instance="{instance}"}}': "1x60",
        f'push_requests_total{{job="push-gateway",instance="{instance}",code="200"}}': taken,
        f'push_requests_total{{job="push-gateway",instance="{instance}",code="403"}}': "0x60",
    }


def _latencies(handler: str, pushes: str, slowest: str) -> Series:
    gateway = f'job="push-gateway",instance="prosody1",handler="{handler}"'
    return {
        'up{job="push-gateway",instance="prosody1"}': "1x60",
        f'push_latency_ms_bucket{{{gateway},le="2000"}}': pushes,
        f"push_latency_ms_count{{{gateway}}}": pushes,
        f"instance_handler:push_latency_ms:p99{{{gateway}}}": slowest,
    }


def _certificates(metric: str, right: str, target: str) -> Series:
    """Of two endpoints and a file, whose certificate was judged."""
    of = 'job="certificates",instance="monitoring"'
    judged = {f'ssl_certificate_trusted{{{of},target="file"}}': "1x60"} if "trusted" in metric else {}
    return judged | {
        f"up{{{of}}}": "1x60",
        f'certificate_exporter_targets{{{of},kind="tls"}}': "2x60",
        f'certificate_exporter_targets{{{of},kind="file"}}': "1x60",
        f'{metric}{of},target="{target}"}}': right,
    }


SYNTHETIC = {'up{job="synthetic",instance="monitoring"}': "1x60"}
WEAK = 'ssl_certificate_weak_handshake_accepted{{offer="{}",'
MODULE = {
    'up{job="prosody",instance="prosody1"}': "1x60",
    'prosody_module_loaded{job="prosody",instance="prosody1",host="commeazy.com",module="turn_external"}': "1x60",
}
# By item: what was measured from the beginning, and is right; and a place that nothing was measured of for ten minutes.
CASES: dict[str, tuple[Series, Series]] = {
    "B1": (
        _certificates("ssl_certificate_trusted{", "1x60", "a"),
        _certificates("ssl_certificate_trusted{", APPEARS.format(1), "b"),
    ),
    **{
        item: (
            _certificates(WEAK.format(offer), "0x60", "a"),
            _certificates(WEAK.format(offer), APPEARS.format(0), "b"),
        )
        for item, offer in (("B3", "tls_below_1_2"), ("B4", "weak_cipher"))
    },
    "D3": (
        SYNTHETIC | _journeys("presence_force_quit", "90.0", ALWAYS),
        _journeys("presence_vanish", "90.0", LATER),
    ),
    **{
        item: (SYNTHETIC | _journeys(journey, "5.0", ALWAYS), _journeys(journey, "5.0", LATER, "prosody2"))
        for item, journey in (("D4", "presence_online"), ("D5", "presence_away"))
    },
    "E9": (_requests("prosody1", ALWAYS), _requests("prosody2", LATER)),
    "F3": (
        SYNTHETIC | MODULE | _journeys("turn_allocate", "5.0", ALWAYS, "coturn1"),
        _journeys("turn_allocate", "5.0", LATER, "coturn2"),
    ),
    "F4": (SYNTHETIC | _lifetimes("prosody1", "86400x60"), _lifetimes("prosody2", APPEARS.format(86400))),
    "H8": (_latencies("fcm", ALWAYS, "100x60"), _latencies("voip", LATER, APPEARS.format(100))),
}


def test_an_item_that_counts_says_what_it_has_not_measured() -> None:
    counting = {
        item.id
        for item in checklist().items.values()
        if any(str(selector.name).endswith(COUNTERS) for selector in (selectors(item.expr) if item.expr else ()))
    }
    assert counting - {item.id for item in checklist().items.values() if item.unmeasured} == set(WHOLE)


def test_every_item_with_places_to_measure_has_a_case() -> None:
    assert list(CASES) == [item.id for item in checklist().items.values() if item.unmeasured]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="there is no promtool here")
@pytest.mark.parametrize("item", CASES)
def test_one_place_that_was_not_measured_makes_an_item_unknown(item: str, tmp_path: Path) -> None:
    measured, late = CASES[item]
    document = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "1m",
        "tests": [
            _test(item, measured | _from_the_beginning(late), {"5m": 1, "30m": 1}),
            _test(item, measured | late, {"5m": None, "30m": 1}),
        ],
    }
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    done = subprocess.run(
        ["promtool", "test", "rules", "test.yaml"], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _from_the_beginning(late: Series) -> Series:
    return {
        name: ALWAYS if values == LATER else values.replace("_x9 ", "").replace("x50", "x60")
        for name, values in late.items()
    }


def _test(item: str, series: Series, expected: dict[str, int | None]) -> dict[str, object]:
    recorded = f'checklist_item{{id="{item}"}}'
    return {
        "interval": "1m",
        "input_series": [{"series": each, "values": values} for each, values in series.items()],
        "promql_expr_test": [
            {
                "expr": recorded,
                "eval_time": at,
                "exp_samples": [] if value is None else [{"labels": recorded, "value": value}],
            }
            for at, value in expected.items()
        ],
    }
