"""The table has a drill for every alert, all times are shortened alike, and the report hides nothing."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

import pytest
import yaml

from alerts.catalogue import KNOBS
from alerts.thresholds import load
from lab.drill.report import DrillResult, report, rows, rows_of
from lab.drill.table import DRILLS, Drill
from lab.drill.thresholds import HASTE, write_thresholds
from lab.fakes.receivers import Notification, read_event, read_webhook
from lab.running.workspace import ROOT
from lab.servers.alertmanager import hastened
from toolkit.values import duration

if TYPE_CHECKING:
    from pathlib import Path

SPECIFIED = load(KNOBS)


def test_there_is_one_drill_for_every_alert_of_the_catalogue() -> None:
    assert sorted(drill.alert for drill in DRILLS) == sorted(KNOBS)


def test_what_may_fire_beside_an_alert_is_an_alert_with_a_reason_and_what_is_silenced_is_among_it() -> None:
    for drill in DRILLS:
        assert drill.beside.keys() <= KNOBS.keys() - {drill.alert}, drill.alert
        assert all(drill.beside.values()), drill.alert
        assert set(drill.silenced) <= drill.beside.keys(), drill.alert


def test_a_drill_makes_a_threshold_easier_to_reach_and_never_harder(tmp_path: Path) -> None:
    used = load(KNOBS, write_thresholds(tmp_path / "drill.yaml", SPECIFIED))
    for drill in DRILLS:
        value, specified = used[drill.alert].value, SPECIFIED[drill.alert].value
        assert value == (drill.value or specified)
        if value is not None and specified is not None:
            # Memory is low below its threshold.
            assert value >= specified if drill.alert == "HostMemoryLow" else value <= specified, drill.alert


def test_every_duration_is_shortened_and_none_is_shorter_than_two_scrapes(tmp_path: Path) -> None:
    used = load(KNOBS, write_thresholds(tmp_path / "drill.yaml", SPECIFIED))
    for alert, threshold in SPECIFIED.items():
        if threshold.hold == "0s":
            assert used[alert].hold == "0s"
        else:
            assert 4 <= duration(used[alert].hold) <= 10
        if threshold.window:
            # A fault that is over must leave every window before the next drill.
            assert duration(used[alert].window or "") == min(duration(threshold.window) // HASTE, 60)


def test_alertmanagers_waits_are_shortened_in_every_route_and_nothing_else_changes() -> None:
    route = yaml.safe_load((ROOT / "prometheus/alertmanager.yml").read_text())["route"]
    quick = hastened(route, 15)
    assert (quick["group_wait"], quick["group_interval"], quick["repeat_interval"]) == ("4s", "20s", "2880s")
    assert [each.get("group_wait") for each in quick["routes"]] == ["0s", None, None, None, None]
    assert [each.get("repeat_interval") for each in quick["routes"]] == ["3s", None, "23040s", None, "240s"]
    assert quick["routes"][-1]["routes"][0]["group_wait"] == "0s"
    assert [each["matchers"] for each in quick["routes"]] == [each["matchers"] for each in route["routes"]]


def test_a_page_is_known_by_its_runbook_and_its_all_clear_by_the_page() -> None:
    groups: dict[str, str] = {}
    firing = "prosody1: it is down: Look. https://example.com/docs/runbooks/ProsodyDown.md "
    trigger = {
        "event_action": "trigger",
        "dedup_key": "k",
        "payload": {"summary": "prosody1: it is down", "custom_details": {"firing": firing}},
    }
    resolve = {
        "event_action": "resolve",
        "dedup_key": "k",
        "payload": {"summary": "", "custom_details": {"firing": ""}},
    }
    assert read_event(trigger, "page", 1.0, groups) == [
        Notification(1.0, "page", "ProsodyDown", resolved=False, text=f"prosody1: it is down {firing}")
    ]
    (over,) = read_event(resolve, "page", 2.0, groups)
    assert (over.alert, over.resolved) == ("ProsodyDown", True)


def test_a_ticket_says_for_each_alert_whether_it_is_over() -> None:
    def alert(status: str, instance: str) -> dict[str, object]:
        annotations = {"summary": f"{instance} is full", "description": "Look.", "runbook_url": "https://x/y.md"}
        return {"status": status, "labels": {"alertname": "ProsodyMemoryHigh"}, "annotations": annotations}

    message = {"alerts": [alert("firing", "prosody1"), alert("resolved", "prosody2")]}
    first, second = read_webhook(message, "ticket", 1.0)
    assert first == Notification(
        1.0, "ticket", "ProsodyMemoryHigh", resolved=False, text="prosody1 is full Look. https://x/y.md"
    )
    assert second.resolved


def _result(**more: object) -> DrillResult:
    drill = Drill("ProsodyDown", "Prosody killed", lambda _: nullcontext(), beside={"TargetDown": "its node"})
    result = DrillResult(drill, "page", began=0.0, pending=2.0, firing=6.4, told=8.0, resolved=2.0)
    for name, value in more.items():
        setattr(result, name, value)
    return result


def test_the_report_says_what_fired_beside_and_what_of_it_was_kept_back() -> None:
    text = report(rows([_result(beside={"TargetDown": True})], SPECIFIED, SPECIFIED), ["ProsodyDown"], 15)
    assert (
        "| 1970-01-01 | [ProsodyDown](runbooks/ProsodyDown.md) | Prosody killed |  | 6 s | page 8 s | 2 s "
        "| *TargetDown*: its node | ok |"
    ) in text
    assert "1 of 1 alerts fired" in text
    assert "Not drilled" not in text


def test_the_report_hides_neither_noise_nor_a_failure() -> None:
    result = _result(beside={"NodeDown": False}, told=None, wrong=["nobody was notified"])
    text = report(rows([result], SPECIFIED, SPECIFIED), ["ProsodyDown"], 15)
    assert "NodeDown: **unexplained** | nobody was notified |" in text
    assert "| no one |" in text
    assert "0 of 1 alerts fired" in text
    assert "WRONG: nobody was notified" in result.line()


@pytest.mark.parametrize(
    ("alert", "told"),
    [
        ("PromiseNotMeasured", "at least 10 seconds of measuring (in production 21,600)"),
        ("ProsodyLoginsFail", "at least 3 failed logins (in production 30)"),
        ("ProsodySessionsCriticalSoon", "at least 20 scrapes of the day before (in production 2,000)"),
        ("PushesWakeNobody", "at least 3 silent pushes (in production 10)"),
    ],
)
def test_the_report_says_what_a_minimum_counts(alert: str, told: str, tmp_path: Path) -> None:
    used = load(KNOBS, write_thresholds(tmp_path / "drill.yaml", SPECIFIED))
    result = DrillResult(Drill(alert, "a fault", lambda _: nullcontext()), "ticket", began=0.0)
    assert told in rows([result], used, SPECIFIED)[alert]


def test_a_run_of_some_alerts_keeps_the_rows_of_the_others_and_no_alert_without_a_row_counts_as_right() -> None:
    alerts = ["ProsodyDown", "NodeDown"]
    first = report(rows([_result(wrong=["nobody was notified"])], SPECIFIED, SPECIFIED), alerts, 15)
    assert "0 of 2 alerts fired" in first
    assert "Not drilled: NodeDown." in first
    drill = Drill("NodeDown", "everything killed", lambda _: nullcontext())
    again = rows([DrillResult(drill, "page", began=86400.0, told=3.0)], SPECIFIED, SPECIFIED)
    second = report(rows_of(first) | again, alerts, 15)
    assert "1 of 2 alerts fired" in second
    assert rows_of(second) == rows_of(first) | again
    gone = {"ProsodyGone": again["NodeDown"].replace("NodeDown", "ProsodyGone")}
    assert "ProsodyGone" not in report(rows_of(second) | gone, alerts, 15)
