"""An objectives file that cannot be used is one clear line; one that can changes its own promise and no other."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
import yaml

from alerts.catalogue import KNOBS
from alerts.catalogue.promises import NODE_CAUSES
from alerts.generate import main
from alerts.objectives import load
from alerts.promises import HOLDOVER
from alerts.thresholds import load as load_thresholds

if TYPE_CHECKING:
    from pathlib import Path

BAD = {
    "an empty file": ("", "my.yaml: holds no promises; write `message-delivered:` and, indented, its keys"),
    "no such promise": (
        "massage:\n  objective: 99\n  reason: x\n",
        (
            "my.yaml:1: there is no promise massage; there are message-delivered, message-fast, login, presence-gone, "
            "call-push, turn, connections"
        ),
    ),
    "no such promise, in braces and below other lines": (
        "# mine\n\nmassage: {reason: x,\n  objective: 99}\n",
        "my.yaml:3: there is no promise massage; ",
    ),
    "nothing in braces": ("{}\n", "my.yaml: holds no promises; write `message-delivered:` and, indented, its keys"),
    "no reason": (
        "login:\n  objective: 99\n",
        "my.yaml:2: login: reason must be given: say why the number is what it is",
    ),
    "an unknown key": ("login:\n  objectiv: 99\n", "my.yaml:2: login has no key 'objectiv'; did you mean 'objective'?"),
    "nothing of a promise": (
        "login:\n",
        "my.yaml:1: login must be a mapping with the keys objective, window, good, total, ",
    ),
    "a ratio for a percentage above the whole": (
        "login:\n  reason: x\n  objective: 100\n",
        "my.yaml:3: login: objective must be per cent from 90 to below 100, such as 99.9",
    ),
    "a ratio for a percentage": (
        "login:\n  reason: x\n  objective: 0.999\n",
        "my.yaml:3: login: objective must be per cent from 90 to below 100, such as 99.9",
    ),
    "a word for a number": ("login:\n  reason: x\n  objective: high\n", "my.yaml:3: login: objective must be a number"),
    "half a day": (
        "login:\n  reason: x\n  window: 36h\n",
        "my.yaml:3: login: window must be whole days, 7d to 365d, such as 30d",
    ),
    "a window shorter than an alert's": (
        "login:\n  reason: x\n  window: 3d\n",
        "my.yaml:3: login: window must be whole days, 7d to 365d, such as 30d",
    ),
    "a gauge": (
        "login:\n  reason: x\n  good: prosody_up\n",
        'my.yaml:3: login: good must be counters, with + or - between them: requests_total{code="200"} - retries_total',
    ),
    "a rate": (
        "login:\n  reason: x\n  total: rate(a_total[5m])\n",
        "my.yaml:3: login: total must be counters, with + or - between them: requests_total{",
    ),
    **{
        f"a counter with {what}": (
            f"login:\n  reason: x\n  good: '{counter}'\n",
            "my.yaml:3: login: good must be counters, with + or - between them: requests_total{",
        )
        for what, counter in {
            "a label value without quotes": "a_total{code=200}",
            "a label without a value": "a_total{code}",
            "an open quote": 'a_total{code="200}',
            "half a list of labels": 'a_total{code="200" job="x"}',
            "a sum in a label": 'a_total{code="2 - 1"}',
        }.items()
    },
    "a counter with no regular expression": (
        "login:\n  reason: x\n  good: 'a_total{code=~\"((\"}'\n",
        "my.yaml:3: login: good has '((', which is no regular expression",
    ),
    "half an event": (
        "login:\n  reason: x\n  minimum: 0.5\n",
        "my.yaml:3: login: minimum must be a whole number of events, at least 1",
    ),
    "a severity nobody routes": (
        "login:\n  reason: x\n  severity: page\n",
        "my.yaml:3: login: severity must be one of critical, warning, none",
    ),
    "a cause that is no alert": (
        "login:\n  reason: x\n  causes: [ProsodyGone]\n",
        "my.yaml:3: login: causes has 'ProsodyGone', which does not exist",
    ),
    "a promise that explains itself": (
        "login:\n  reason: x\n  causes: [PromiseBurnsFast]\n",
        "my.yaml:3: login: causes has 'PromiseBurnsFast', which says no more than the promise",
    ),
    "a job that is none": (
        "login:\n  reason: x\n  jobs: [xmpp]\n",
        "my.yaml:3: login: jobs has 'xmpp', which does not exist",
    ),
    "no connections": (
        "connections:\n  reason: x\n  sessions: 0\n",
        "my.yaml:3: connections: sessions must be a whole number of sessions, at least 1",
    ),
    "an objective of connections": (
        "connections:\n  objective: 99\n  reason: x\n",
        "my.yaml:2: connections has no key 'objective'; known are sessions, section, reason",
    ),
    "no label for a node": ("login:\n  reason: x\n  nodes: []\n", "my.yaml:3: login: nodes must name at least one"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_one_line_and_exit_code_two(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, said = BAD[case]
    mine = tmp_path / "my.yaml"
    mine.write_text(text)
    assert main(["--objectives", str(mine), "--output", str(tmp_path / "rules")]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"generate-rules: {tmp_path}/{said}"), error
    assert error.count("\n") == 1
    assert not (tmp_path / "rules").exists()


def _rules(tmp_path: Path, *arguments: str) -> dict[tuple[str, str], str]:
    """Return the expressions of the promises' rules, by record and promise."""
    assert main(["--output", str(tmp_path), *arguments]) == 0
    groups = yaml.safe_load((tmp_path / "promises.yaml").read_text())["groups"] or []
    return {
        (rule["record"], rule.get("labels", {}).get("sloth_slo", "")): rule["expr"]
        for each in groups
        for rule in each["rules"]
    }


def test_an_override_changes_its_own_promise_and_nothing_else(tmp_path: Path) -> None:
    mine = tmp_path / "my.yaml"
    mine.write_text("login: {objective: 99.5, window: 28d, reason: Few people log in.}\n")
    before, after = _rules(tmp_path), _rules(tmp_path, "--objectives", str(mine))
    changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    assert after["slo:error_budget:ratio", "login"] == "vector(0.005)"
    assert after["slo:objective:ratio", "login"] == "vector(0.995)"
    assert "[28d]" in after["slo:bad_events:increase28d", "login"]
    assert {slo for _, slo in changed} == {"login", ""}, "the ratio of 28 days is new for all"
    left = after["slo:period_error_budget_remaining:ratio", ""]
    assert "(slo:sli_error:ratio_rate28d or slo:sli_error:ratio_rate30d) / on (" in left
    _loads(tmp_path)


def test_a_counter_may_have_any_labels(tmp_path: Path) -> None:
    mine = tmp_path / "my.yaml"
    counter = 'synthetic_journeys_total{journey=~"login|(?:re|)sume", result!="", path="/{a}\\\\b"}'
    mine.write_text(f"login:\n  good: '{counter}'\n  reason: Of our own.\n")
    rules = _rules(tmp_path, "--objectives", str(mine))
    assert f"sum(increase({counter}[5m]))" in rules["slo:bad_events:increase5m", "login"]
    _loads(tmp_path)


def _loads(tmp_path: Path) -> None:
    """Assert that Prometheus takes the rules and has nothing to say against them."""
    command = ["promtool", "check", "rules", "--lint-fatal", str(tmp_path / "promises.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_promised_connections_are_data_too(tmp_path: Path) -> None:
    mine = tmp_path / "my.yaml"
    mine.write_text("connections: {sessions: 20_000, reason: A smaller service.}\n")
    before, after = _rules(tmp_path), _rules(tmp_path, "--objectives", str(mine))
    changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    assert changed == {("slo:connections:ratio", "")}
    assert before["slo:connections:ratio", ""] == "sum(prosody_c2s_sessions) / 100000"
    assert after["slo:connections:ratio", ""] == "sum(prosody_c2s_sessions) / 20000"


def test_a_promise_is_left_out_by_severity_none_and_with_the_job_it_needs(tmp_path: Path) -> None:
    mine = tmp_path / "my.yaml"
    mine.write_text("login: {severity: none, reason: Nobody logs in.}\n")
    names = {slo for _, slo in _rules(tmp_path, "--objectives", str(mine), "--without", "coturn")}
    assert names == {"", "message-delivered", "message-fast", "presence-gone", "call-push"}


def test_without_a_promise_there_is_no_rule(tmp_path: Path) -> None:
    assert _rules(tmp_path, "--without", "synthetic", "--without", "push-gateway") == {}


def test_what_explains_a_page_pages_itself() -> None:
    thresholds = load_thresholds(KNOBS)
    for objective in load(KNOBS).measured().objectives.values():
        assert all(thresholds[alert].severity == "critical" for alert in objective.causes), objective.name
    assert all(thresholds[alert].severity == "critical" for alert in NODE_CAUSES)


def test_a_cause_of_a_node_and_one_of_a_promise_explain_a_burn_equally_long() -> None:
    assert load_thresholds(KNOBS)["KnownCause"].window == HOLDOVER


def test_the_promises_are_those_of_section_1() -> None:
    promised = {name: (each.percent, each.days, each.severity) for name, each in load(KNOBS).objectives.items()}
    assert promised == {
        "message-delivered": (99.9, 30, "critical"),
        "message-fast": (99, 30, "critical"),
        "login": (99.9, 30, "critical"),
        "presence-gone": (99, 30, "warning"),
        "call-push": (99, 30, "critical"),
        "turn": (99.9, 30, "critical"),
    }
