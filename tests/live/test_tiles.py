"""What a tile says while a node does not answer, or while nothing is known at all: its own query, by promtool."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.dashboards.answers import gives, query, tile_verdict
from tests.dashboards.model import DATA_PANELS, Panel, plain, selectors
from tests.dashboards.samples import jobs_of
from tests.live.tile_series import EXPORTER_GONE, PARTLY_DOWN, last_words

if TYPE_CHECKING:
    from pathlib import Path

VERDICTS = [
    panel
    for panel in DATA_PANELS
    if panel.json["type"] == "stat" and panel.json["targets"][0]["legendFormat"].startswith("{{verdict}}")
]
DOWN = ("NODE DOWN", "NO PING", "PROBE FAILED", "NOT MEASURED")
JUDGING = [panel for panel in VERDICTS if any(f'"{word}"' in panel.json["targets"][0]["expr"] for word in DOWN)]


def _verdicts(expr: str, series: dict[str, str], folder: Path, expected: str, at: str = "2m") -> None:
    gives(series, folder, {f"count by (verdict) ({expr})": {f'{{verdict="{expected}"}}': 1}}, at)


@pytest.mark.parametrize("panel", JUDGING, ids=lambda panel: panel.name)
def test_no_tile_says_ok_or_now_while_something_that_it_is_about_does_not_answer(panel: Panel, tmp_path: Path) -> None:
    # The job is that of the tile's number, not of its verdict: a verdict about another service would be OK here.
    (word,) = (word for word in DOWN if f'"{word}"' in panel.json["targets"][0]["expr"])
    for job in _jobs(panel):
        for series in (PARTLY_DOWN[job], *([EXPORTER_GONE] if job == "certificates" else [])):
            _verdicts(tile_verdict(panel.uid, panel.json["title"]), series, tmp_path, word)


@pytest.mark.parametrize("panel", JUDGING, ids=lambda panel: panel.name)
def test_what_still_answers_has_a_number_in_the_test_above_so_that_ok_could_be_said_of_it(
    panel: Panel, tmp_path: Path
) -> None:
    series = {name: values for job in _jobs(panel) for name, values in PARTLY_DOWN[job].items()}
    gives(series, tmp_path, {f"count({_number(panel)})": {"{}": 1}})


@pytest.mark.parametrize("panel", JUDGING, ids=lambda panel: panel.name)
def test_a_tile_says_so_if_its_number_is_also_of_a_node_that_stopped_answering_minutes_ago(
    panel: Panel, tmp_path: Path
) -> None:
    of_all = panel.json["description"].endswith("the number is also of those that do not, as far as it is known.")
    jobs = _jobs(panel)
    if len(jobs) > 1 or jobs == {"certificates"} or panel.uid == "promises":
        assert not of_all, "its number is of promises or of endpoints"
        return
    series = {name: values for job in jobs for name, values in PARTLY_DOWN[job].items() if "instance=" in name}
    up, down = sorted({name.split('instance="')[1].split('"')[0] for name in series})
    living = {name: re.sub(r"x8$", "x40", values) for name, values in series.items()}
    ended = {name: _until_it_ended(name, values) for name, values in last_words(series, down).items()}
    of_both, of_one = (_number(panel).replace("$node", nodes) for nodes in (f"{up}|{down}", up))
    expected = {f"count(({of_both}) != ({of_one}))": {"{}": 1.0} if of_all else {}, f"count({of_one})": {"{}": 1.0}}
    gives(living | ended, tmp_path, expected, at="6m")


def _until_it_ended(name: str, values: str) -> str:
    """Return other values than those of a living node, for two minutes; the memory of a hung process stays known."""
    if name.startswith("prosody_memory_used_bytes"):
        return "90000000x40"
    if name.startswith("push_gateway_uptime_seconds"):
        return "100 5 100 5 100 5 100 5 100 stale"
    return "0+50x8 stale" if "_total{" in name else re.sub(r"^[\d.]+", r"3\g<0>", values) + " stale"


def _number(panel: Panel) -> str:
    (number,) = (target["expr"] for target in panel.json["targets"] if target["legendFormat"] == "trend")
    return str(number)


def _jobs(panel: Panel) -> set[str]:
    """Return the jobs that a tile's number comes from; of promises those that count their events."""
    measured = {"slo:connections:ratio": {"prosody"}}
    asked = [selector for selector, _ in selectors(plain(_number(panel)))]
    return {
        job
        for one in asked
        for job in (
            measured.get(one.name, {"synthetic", "push-gateway"}) if one.name.startswith("slo:") else jobs_of(one)
        )
    }


@pytest.mark.parametrize(
    ("sessions", "verdict"),
    [("30000x8", "NODE DOWN"), ("44000x8", "NODE DOWN"), ("52000x8", "CRITICAL")],
)
def test_a_tile_shows_the_number_of_the_nodes_that_answer_and_no_share_of_the_limit(
    sessions: str, verdict: str, tmp_path: Path
) -> None:
    tile = tile_verdict("prosody-overview", "Sessions, fullest node")
    living = 'prosody_c2s_sessions{job="prosody",instance="prosody1",transport="websocket"}'
    number = int(sessions.removesuffix("x8"))
    said = f'{{verdict="{verdict}"}}'
    series = PARTLY_DOWN["prosody"] | {living: sessions}
    gives(series, tmp_path, {tile: {said: number}})


@pytest.mark.parametrize("job", ["prosody", "push-gateway"])
def test_pushes_that_wake_nobody_are_not_ok_while_their_gateway_or_prosody_does_not_answer(
    job: str, tmp_path: Path
) -> None:
    tile = tile_verdict("push-gateway-health", "Accepted pushes that wake nobody, worst")
    _verdicts(tile, PARTLY_DOWN[job], tmp_path, "NODE DOWN")


def test_every_tile_with_a_number_says_what_is_down() -> None:
    assert JUDGING == VERDICTS


@pytest.mark.parametrize("panel", VERDICTS, ids=lambda panel: panel.name)
def test_every_tile_says_no_data_while_prometheus_has_none(panel: Panel, tmp_path: Path) -> None:
    _verdicts(tile_verdict(panel.uid, panel.json["title"]), {"another_metric": "1x8"}, tmp_path, "NO DATA")


def test_a_tile_is_ok_when_all_is_well_so_that_the_tests_above_can_fail(tmp_path: Path) -> None:
    well = {
        name: "1x8" if name.startswith(("up", "push_gateway_up")) else "0x8" for name in PARTLY_DOWN["push-gateway"]
    }
    _verdicts(tile_verdict("push-gateway-health", "VoIP success, worst"), well, tmp_path, "OK")


UP = {
    **{f'up{{job="prosody",instance="{node}"}}': "1x40" for node in ("prosody1", "prosody2")},
    **{f'prosody_up{{job="prosody",instance="{node}"}}': "1x40" for node in ("prosody1", "prosody2")},
    'up{job="push-gateway",instance="prosody1"}': "1x40",
    'push_gateway_up{job="push-gateway",instance="prosody1"}': "1x40",
}


NAN = " ".join(["NaN"] * 41)  # promtool has no "NaNx40"


def test_a_node_whose_pings_get_no_answer_is_seen_although_its_quantile_is_nan(tmp_path: Path) -> None:
    pings = {
        'prosody_websocket_ping_seconds_count{job="prosody",instance="prosody1"}': "7x40",
        'prosody_websocket_ping_seconds_count{job="prosody",instance="prosody2"}': "7+3x40",
        'instance:prosody_websocket_ping_seconds:p99{job="prosody",instance="prosody1"}': NAN,
        'instance:prosody_websocket_ping_seconds:p99{job="prosody",instance="prosody2"}': "0.001x40",
    }
    _verdicts(tile_verdict("websocket-health", "Slowest ping, P99"), UP | pings, tmp_path, "NO PING")
    cell = query("websocket-health", "table", "Nodes", "pings")
    gives(UP | pings, tmp_path, {cell: {'{instance="prosody1"}': 0, '{instance="prosody2"}': 1}})
    answered = {name: values.replace("7x40", "7+3x40") for name, values in pings.items()}
    _verdicts(tile_verdict("websocket-health", "Slowest ping, P99"), UP | answered, tmp_path, "now")


@pytest.mark.parametrize(
    ("failed", "sent", "verdict"),
    [(0, 0, "too few"), (0, 9, "OK"), (2, 0, "too few"), (4, 0, "WARNING"), (4, 9, "WARNING"), (4, 990, "OK")],
)
def test_pushes_that_are_too_few_for_the_alert_are_not_judged(
    failed: int, sent: int, verdict: str, tmp_path: Path
) -> None:
    share = f"{failed / (failed + sent)}x40" if failed + sent else NAN
    series = {
        'instance:push_voip_failed:ratio{job="push-gateway",instance="prosody1"}': share,
        'push_voip_failed_total{job="push-gateway",instance="prosody1"}': f"7x30 {7 + failed}x9",
    }
    _verdicts(tile_verdict("push-gateway-health", "VoIP success, worst"), UP | series, tmp_path, verdict, at="9m")
    judged = query("push-gateway-health", "table", "Nodes", "VoIP bad")
    colour = f"count(({judged}) > 0.05)"
    gives(UP | series, tmp_path, {colour: {"{}": 1} if verdict == "WARNING" else {}}, at="9m")


@pytest.mark.parametrize(("failures", "judged"), [(1, False), (28, False), (32, True)])
def test_one_client_with_an_old_password_colours_no_cell(failures: int, judged: bool, tmp_path: Path) -> None:  # noqa: FBT001
    series = {
        'instance:prosody_logins_failed:ratio{job="prosody",instance="prosody1"}': "1x40",
        'prosody_authentications_total{job="prosody",instance="prosody1",result="failure"}': f"7x30 {7 + failures}x9",
    }
    colour = f"count(({query('prosody-overview', 'table', 'Nodes', 'bad logins')}) > 0.9)"
    gives(UP | series, tmp_path, {colour: {"{}": 1} if judged else {}}, at="9m")


def test_three_failed_calls_are_three(tmp_path: Path) -> None:
    calls = 'push_calls_failed_total{job="push-gateway",instance="prosody1",handler="voip"}'
    tile = tile_verdict("push-gateway-health", "Failed calls in 6h, worst")
    for called, verdict in ((3, "OK"), (4, "WARNING")):
        series = dict.fromkeys(UP, "1x1450") | {calls: f"7x700 {7 + called}x750"}
        _verdicts(tile, series, tmp_path, verdict, at="6h1m7s")  # between two scrapes


def _certificate(target: str, days: float, lifetime: float = 90, trusted: int = 1, probed: int = 1) -> dict[str, str]:
    of = f'job="certificates",instance="m",target="{target}"'
    values = {"probe_success": probed, "trusted": trusted, "expiry_days": days, "lifetime_days": lifetime}
    return {
        'up{job="certificates",instance="m"}': "1x8",
        **{f"ssl_certificate_{name}{{{of}}}": f"{value}x8" for name, value in values.items()},
    }


@pytest.mark.parametrize(
    ("days", "lifetime", "verdict"),
    [(80, 90, "OK"), (13, 90, "WARNING"), (5, 6, "short-lived"), (1.9, 6, "WARNING"), (2.1, 6, "short-lived")],
)
def test_a_short_lived_certificate_is_judged_by_a_third_of_its_lifetime(
    days: float, lifetime: float, verdict: str, tmp_path: Path
) -> None:
    series = _certificate("wss", days, lifetime)
    tile = tile_verdict("websocket-health", "Certificate expires in")
    _verdicts(tile, series, tmp_path, verdict)
    enough = {'{instance="m",target="wss"}': 0.0 if verdict == "WARNING" else 1.0}
    gives(series, tmp_path, {query("websocket-health", "table", "Certificates now", "enough"): enough})
    if verdict == "short-lived":  # and the others are judged beside it
        _verdicts(tile, series | _certificate("turn", 13), tmp_path, "WARNING")


@pytest.mark.parametrize(
    ("days", "trusted", "enough", "trust"), [(80, 1, None, None), (3, 1, 0, None), (80, 0, None, 0), (3, 0, 0, 0)]
)
def test_the_last_certificate_of_an_endpoint_that_cannot_be_probed_is_bad_or_not_known(
    days: int, trusted: int, enough: int | None, trust: int | None, tmp_path: Path
) -> None:
    series = _certificate("wss", days, trusted=trusted, probed=0)
    row = '{instance="m",target="wss"}'
    cells = {
        heading: query("websocket-health", "table", "Certificates now", heading)
        for heading in ("enough", "trusted", "days left")
    }
    shown = {"enough": enough, "trusted": trust, "days left": days}
    known = {f"({cells[heading]}) > -Inf": {} if n is None else {row: n} for heading, n in shown.items()}
    rows = {f"count({cell})": {"{}": 1.0} for cell in cells.values()}
    gives(series, tmp_path, {**known, **rows})


def test_a_node_with_too_few_pushes_for_the_alert_leaves_the_verdict_to_the_others(tmp_path: Path) -> None:
    shares = {
        f'instance:push_voip_failed:ratio{{job="push-gateway",instance="{node}"}}': f"{share}x8"
        for node, share in (("prosody1", 1), ("prosody2", 0.01))
    }
    both = {
        f'{up}{{job="push-gateway",instance="{node}"}}': "1x8"
        for node in ("prosody1", "prosody2")
        for up in ("up", "push_gateway_up")
    }
    tile = tile_verdict("push-gateway-health", "VoIP success, worst")
    gives(
        both | shares,
        tmp_path,
        {f"count by (verdict) ({tile})": {'{verdict="OK"}': 1}, f"round(100 * ({tile}))": {'{verdict="OK"}': 99}},
    )


def test_open_registration_is_no_critical_verdict_and_is_said_in_a_word(tmp_path: Path) -> None:
    safe = {
        f'prosody_setting{{job="prosody",instance="prosody1",name="{name}"}}': "1x40"
        for name in ("c2s_require_encryption", "s2s_require_encryption", "allow_registration")
    } | {
        f'prosody_setting{{job="prosody",instance="prosody1",name="{name}"}}': "0x40"
        for name in ("push_notification_with_body", "push_notification_with_sender", "registration_restricted")
    }
    safe['prosody_module_loaded{job="prosody",instance="prosody1",host="a",module="mam"}'] = "0x40"
    _verdicts(tile_verdict("prosody-overview", "Unsafe settings"), UP | safe, tmp_path, "OK")
    registration = query("prosody-overview", "table", "Versions and starts", "registration")
    gives(UP | safe, tmp_path, {registration: {'{instance="prosody1"}': 1}})
    restricted = {name: "1x40" if "restricted" in name else values for name, values in safe.items()}
    gives(UP | restricted, tmp_path, {registration: {'{instance="prosody1"}': 0}})


def test_what_ended_three_minutes_ago_is_not_now(tmp_path: Path) -> None:
    updates = 'prosody_presence_updates_total{job="prosody",instance="prosody1",type="available"}'
    gives(
        UP | {updates: "0+60x20 1200x20"},
        tmp_path,
        {tile_verdict("presence-health", "Presence updates/s"): {'{verdict="now"}': 0}},
        at="8m",
    )


@pytest.mark.parametrize(
    ("sessions", "verdict"),
    [
        (100, '{verdict="OK",share=", 0 %"}'),
        (30_000, '{verdict="OK",share=", 75 %"}'),
        (40_000, '{verdict="OK",share=", 100 %"}'),
        (40_001, '{verdict="WARNING",share=", 100 %"}'),
        (52_000, '{verdict="CRITICAL",share=", 130 %"}'),
    ],
)
def test_a_tile_says_how_many_per_cent_of_its_limit_a_number_is(sessions: int, verdict: str, tmp_path: Path) -> None:
    series = {
        'up{job="prosody",instance="prosody1"}': "1x8",
        'prosody_up{job="prosody",instance="prosody1"}': "1x8",
        'prosody_c2s_sessions{job="prosody",instance="prosody1",transport="websocket"}': f"{sessions}x8",
    }
    gives(series, tmp_path, {tile_verdict("prosody-overview", "Sessions, fullest node"): {verdict: sessions}})
