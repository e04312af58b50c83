"""Tiles and cells of *Promises* and *Hosts* beside the alerts they stand for: both evaluated on the same samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import yaml

from alerts.generate import RULES
from tests.dashboards.answers import gives, query, tile_verdict
from tests.dashboards.model import all_panels

if TYPE_CHECKING:
    from pathlib import Path

_RULES = yaml.safe_load((RULES / "alerts.yaml").read_text(encoding="utf-8"))
ALERTS = {
    rule["alert"]: f"({rule['expr']})" for group in _RULES["groups"] for rule in group["rules"] if "alert" in rule
}
_WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
_SIX_HOURS = 21_600


def _of_promise(  # noqa: PLR0913 - each is a number of a promise
    name: str,
    *,
    critical: bool,
    burns: dict[str, float],
    bad: float = 9,
    seconds: float = _SIX_HOURS,
    left: float = 0.5,
) -> dict[str, str]:
    """Return the series of one promise; `burns` by window, and 0 in the others."""
    labels = f'sloth_service="commeazy",sloth_slo="{name}",sloth_id="commeazy-{name}"'
    values = {
        "slo:objective:ratio": 0.99,
        "slo:error_budget:ratio": 0.01,
        "slo:bad_events:minimum": 3,
        "slo:measured:seconds": seconds,
        "slo:verdict:bool": seconds >= _SIX_HOURS,
        "slo:explained_by:bool": 1,
        **{f"slo:sli_error:ratio_rate{window}": 0.01 * burns.get(window, 0) for window in _WINDOWS},
        **{f"slo:bad_events:increase{window}": bad for window in _WINDOWS},
    }
    if seconds >= _SIX_HOURS:  # as promises.yaml records it
        values["slo:period_error_budget_remaining:ratio"] = left
    severity = "critical" if critical else "warning"
    return {
        f'sloth_slo_info{{{labels},severity="{severity}"}}': "1x8",
        **{f"{metric}{{{labels}}}": f"{value:.6f}x8" for metric, value in values.items()},
    }


_CALM = _of_promise("login", critical=True, burns=dict.fromkeys(_WINDOWS, 0.6))
_MEASURING = {
    'up{job="synthetic",instance="m1"}': "1x8",
    'up{job="push-gateway",instance="prosody1"}': "1x8",
    'push_gateway_up{job="push-gateway",instance="prosody1"}': "1x8",
}


@pytest.mark.parametrize(
    ("burning", "verdict", "share"),
    [
        pytest.param({}, "OK", 0.1, id="calm"),
        pytest.param({"burns": {"6h": 12, "30m": 13}}, "CRITICAL", 2, id="hours"),
        pytest.param({"burns": {"6h": 12, "30m": 3}}, "OK", 0.5, id="over"),
        pytest.param({"burns": {"6h": 3, "30m": 15, "1h": 20, "5m": 100}}, "CRITICAL", 20 / 14.4, id="young outage"),
        pytest.param({"burns": {"6h": 40, "30m": 40}, "critical": False}, "OK", 0.1, id="pages nobody"),
        pytest.param({"burns": {"6h": 40, "30m": 40}, "bad": 2}, "OK", 0.1, id="too few"),
        pytest.param({"burns": {"6h": 40, "30m": 40}, "seconds": _SIX_HOURS - 1}, "OK", 0.1, id="too early"),
    ],
)
def test_the_burn_of_the_tile_is_critical_when_the_alert_fires_and_only_then(
    burning: dict[str, float], verdict: str, share: float, tmp_path: Path
) -> None:
    other = _of_promise("other", **{"critical": True, "burns": {}} | burning)  # type: ignore[arg-type]
    fires = int(verdict == "CRITICAL")
    gives(
        {**_MEASURING, **_CALM, **other},
        tmp_path,
        {
            f"round({tile_verdict('promises', 'Burn that pages, fastest')}, 0.0001)": {
                f'{{verdict="{verdict}"}}': round(share, 4)
            },
            f"count({ALERTS['PromiseBurnsFast']}) or vector(0)": {"{}": fires},
            f"count(({query('promises', 'table', 'Promises', 'page')}) > 1) or vector(0)": {"{}": fires},
        },
    )


@pytest.mark.parametrize(
    ("burns", "bad", "fires"),
    [
        ({"3d": 1.5, "6h": 1.5}, 9, 1),
        ({"1d": 3.5, "2h": 3.5}, 9, 1),
        ({"1d": 2.5, "2h": 2.5}, 9, 0),
        ({"3d": 1.5, "6h": 0.5}, 9, 0),
        ({"3d": 1.5, "6h": 1.5}, 2, 0),
    ],
)
def test_a_cell_of_the_column_ticket_is_coloured_when_the_alert_fires(
    burns: dict[str, float], bad: float, fires: int, tmp_path: Path
) -> None:
    gives(
        _of_promise("presence-gone", critical=False, burns=burns, bad=bad),
        tmp_path,
        {
            f"count({ALERTS['PromiseBurnsSlowly']}) or vector(0)": {"{}": fires},
            f"count(({query('promises', 'table', 'Promises', 'ticket')}) > 1) or vector(0)": {"{}": fires},
        },
    )


def test_while_no_promise_has_been_measured_for_six_hours_there_is_no_verdict(tmp_path: Path) -> None:
    young = _of_promise("login", critical=True, burns={"6h": 40, "30m": 40}, seconds=60)
    young['slo:coverage:ratio{sloth_service="commeazy",sloth_slo="login",sloth_id="commeazy-login"}'] = "0.5x8"
    words = {"Burn that pages, fastest": "TOO EARLY", "Measured, least": "TOO EARLY", "Budget left, worst": "now"}
    gives(
        _MEASURING | young,
        tmp_path,
        {
            f"count by (verdict) ({tile_verdict('promises', title)})": {f'{{verdict="{word}"}}': 1}
            for title, word in words.items()
        },
    )


def test_a_promise_that_nothing_measures_is_a_warning_in_tile_column_and_graph(tmp_path: Path) -> None:
    covered = {'slo:coverage:ratio{sloth_service="commeazy",sloth_slo="login",sloth_id="commeazy-login"}': "1x8"}
    not_measured = {'slo:objective:ratio{sloth_service="commeazy",sloth_slo="turn",sloth_id="commeazy-turn"}': "0.99x8"}
    each = {'{sloth_slo="login"}': 1.0, '{sloth_slo="turn"}': 0.0}
    gives(
        {**_MEASURING, **_CALM, **covered, **not_measured},
        tmp_path,
        {
            f"count({ALERTS['PromiseNotMeasured']})": {"{}": 1},
            tile_verdict("promises", "Measured, least"): {'{verdict="WARNING"}': 0},
            query("promises", "table", "Promises", "known"): each,
            query("promises", "graph", "Measured", "{{sloth_slo}}"): each,
        },
    )


def test_a_promise_whose_counters_are_there_and_count_nothing_is_a_warning_too(tmp_path: Path) -> None:
    of = '{sloth_service="commeazy",sloth_slo="login",sloth_id="commeazy-login"}'
    series = {
        f"slo:objective:ratio{of}": "0.99x8",
        f"slo:measured:seconds{of}": f"{_SIX_HOURS}x8",
        f"slo:verdict:bool{of}": "1x8",
        f"slo:coverage:ratio{of}": "0x8",
    }
    gives(
        _MEASURING | series,
        tmp_path,
        {
            f"count({ALERTS['PromiseNotMeasured']})": {"{}": 1},
            tile_verdict("promises", "Measured, least"): {'{verdict="WARNING"}': 0},
            query("promises", "table", "Promises", "known"): {'{sloth_slo="login"}': 0},
        },
    )


@pytest.mark.parametrize("title", ["Burn that pages, fastest", "Measured, least", "Budget left, worst"])
def test_promises_are_of_all_nodes_whichever_is_chosen(title: str, tmp_path: Path) -> None:
    other_gateway = {'push_gateway_up{job="push-gateway",instance="prosody2"}': "0x8"}
    chosen = {'push_gateway_up{job="push-gateway",instance="prosody1"}': "1x8"}
    both = {f'up{{job="push-gateway",instance="{node}"}}': "1x8" for node in ("prosody1", "prosody2")}
    gives(
        {**_MEASURING, **_CALM, **both, **chosen, **other_gateway},
        tmp_path,
        {f"count by (verdict) ({tile_verdict('promises', title)})": {'{verdict="NOT MEASURED"}': 1}},
        nodes="prosody1",
    )


@pytest.mark.parametrize("job", ["synthetic", "push-gateway"])
def test_promises_are_not_measured_while_prometheus_knows_no_exporter_that_counts_their_events(
    job: str, tmp_path: Path
) -> None:
    of_job = {name: values for name, values in _MEASURING.items() if f'"{job}"' not in name}
    assert len(of_job) < len(_MEASURING)
    said = f"count by (verdict) ({tile_verdict('promises', 'Budget left, worst')})"
    gives({**of_job, **_CALM}, tmp_path, {said: {'{verdict="NOT MEASURED"}': 1}})


def test_a_missed_promise_that_pages_nobody_does_not_hide_the_budgets_of_the_others(tmp_path: Path) -> None:
    kept = _of_promise("login", critical=True, burns={}, left=0.75)
    missed = _of_promise("presence-gone", critical=False, burns={}, left=-2.5)
    gives(
        {**_MEASURING, **kept, **missed},
        tmp_path,
        {tile_verdict("promises", "Budget left, worst"): {'{verdict="now"}': 0.75}},
    )


def test_no_column_of_the_promises_vanishes_while_nothing_is_measured(tmp_path: Path) -> None:
    promised = {f'slo:objective:ratio{{sloth_slo="{name}"}}': "0.99x8" for name in ("login", "turn")}
    rows = {f'{{sloth_slo="{name}"}}': 1.0 for name in ("login", "turn")}
    (table,) = (panel for panel in all_panels("promises") if panel.json["title"] == "Promises")
    cells = [target["expr"] for target in table.json["targets"]]
    assert len(cells) == 7
    gives(promised, tmp_path, {f"count by (sloth_slo) ({cell})": rows for cell in cells})


def _of_host(free: dict[str, float], files: float = 0.9, used: float = 0.4, taken: float = 0.0) -> dict[str, str]:
    at = 'job="node",instance="db1"'
    disks = {f'{{{at},mountpoint="{mountpoint}"}}': value for mountpoint, value in free.items()}
    return {
        f"up{{{at}}}": "1x8",
        **{f"instance_mountpoint:node_filesystem_free:ratio{disk}": f"{value}x8" for disk, value in disks.items()},
        **{f"instance_mountpoint:node_filesystem_files_free:ratio{disk}": f"{files}x8" for disk in disks},
        f"instance:node_cpu_used:ratio{{{at}}}": f"{used}x8",
        f"instance:node_cpu_stolen:ratio{{{at}}}": f"{taken}x8",
    }


@pytest.mark.parametrize(
    ("free", "files", "verdict", "least"),
    [
        ({"/": 0.5, "/boot": 0.4}, 0.9, "OK", 0.4),
        ({"/": 0.1, "/boot": 0.4}, 0.9, "WARNING", 0.1),
        ({"/": 0.02, "/boot": 0.4}, 0.9, "CRITICAL", 0.02),
        ({"/": 0.5, "/boot": 0.02}, 0.9, "WARNING", 0.03),
        ({"/": 0.5, "/boot": 0.4}, 0.01, "WARNING", 0.03),
    ],
)
def test_the_fullest_disk_is_what_its_two_alerts_make_of_it(
    free: dict[str, float], files: float, verdict: str, least: float, tmp_path: Path
) -> None:
    pages, warns = (
        f"clamp_max(count({ALERTS[name]}), 1) or vector(0)" for name in ("HostDiskFull", "HostDiskSpaceLow")
    )
    gives(
        _of_host(free, files),
        tmp_path,
        {
            tile_verdict("hosts", "Disk free, least"): {f'{{verdict="{verdict}"}}': least},
            query("hosts", "table", "Hosts", "disk free"): {'{instance="db1"}': least},
            pages: {"{}": int(verdict == "CRITICAL")},
            warns: {"{}": int(verdict != "OK")},
        },
    )


@pytest.mark.parametrize(
    ("used", "taken", "verdict", "share"),
    [(0.4, 0.02, "OK", 0.5), (0.88, 0.02, "WARNING", 1.1), (0.4, 0.15, "WARNING", 1.5)],
)
def test_processors_in_use_and_processors_taken_are_judged_each_by_its_own_limit(
    used: float, taken: float, verdict: str, share: float, tmp_path: Path
) -> None:
    gives(
        _of_host({"/": 0.5}, used=used, taken=taken),
        tmp_path,
        {
            f"round({tile_verdict('hosts', 'CPU limit used, most')}, 0.001)": {f'{{verdict="{verdict}"}}': share},
            f"round({query('hosts', 'table', 'Hosts', 'cpu limit')}, 0.001)": {'{instance="db1"}': share},
            f"count({ALERTS['HostProcessorBusy']}) or vector(0)": {"{}": int(verdict == "WARNING")},
        },
    )
