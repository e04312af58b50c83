"""Breaks each rule in every small way and runs its promtool tests, which must notice (`python -m` this module).

A mutant of an alert is run against that alert's test file alone, and only against what the file expects of that one
rule; what fails there fails in the whole file too. A mutant of a recorded series is run against the files of all
alerts that stand on it; one of a series recorded for panels, against the panels' own test file.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import promql_parser
import yaml

from tests.alerts import promise_files, promise_shared, promises
from tests.alerts.mutants import Rule, of_rule
from tests.alerts.promql import has_external

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ALERTS: Final = Path(__file__).parents[2] / "alerts"
PANEL_TESTS: Final = ALERTS.parent / "tests" / "dashboards" / "panel_rules.yaml"
# Mutants that say the same as the rule.
EQUIVALENT: Final = {
    ("Watchdog", "1 -> 2 at 7"): "an alert fires on any value",
    ("Watchdog", "1 -> 0 at 7"): "an alert fires on any value",
    ("JobMissing", "without job"): "absent() gives the same label; the rule's own is for promtool's duplicate check",
    ("PushCanaryLost", "sum -> max at 100"): "a count is never below 0, so all are 0 when the highest is",
    ("PushCanaryLost", "sum -> avg at 100"): "likewise",
    ("PushCanaryLost", "increase -> rate at 118"): "either is 0 when nothing increased",
    ("PushSecretRefused", "increase -> rate at 0"): "either is above 0 when something increased",
    ("ProsodyProbeFails", "increase -> rate at 0"): "either is 0 when nothing increased",
    ("TargetFileUnreadable", "increase -> rate at 0"): "either is above 0 when something increased",
    (
        "SyntheticRelayLosesMedia",
        'journey=~"turn_(udp|tcp|tls)", -> (nothing) at 80',
    ): "what is divided by has no others",
    ("SyntheticRelayLosesMedia", 'journey=~"turn_(udp|tcp|tls)", -> (nothing) at 238'): "what is divided has no others",
    ("slo:explained_by:bool", "count -> sum at 118"): "two shares above 0.9 are above 1 together, and one is not",
    **{
        (f"instance_kind:{histogram}:p99", "sum -> avg at 25"): "each bucket of a node is of as many hosts"
        for histogram in ("prosody_mod_push_http__handover_seconds", "prosody_push_wakeup_seconds")
    },
    ("TargetDown", "without job"): "`up` has the same label; the rule's own is for promtool's duplicate check",
}
# The same of the promises' rules, by the form of the rule and whatever the promise.
PROMISES_EQUIVALENT: Final = {
    ("slo:measured_since:timestamp_seconds", "[30d] -> [21600m]"): "it remembers itself at each evaluation",
    ("slo:measured_since:timestamp_seconds", "[30d] -> [86400m]"): "likewise",
    ("slo:coverage:ratio", "0 -> 1"): "after one evaluation more than one event is due",
    ("slo:coverage:ratio of scrapes", "0 -> 1"): "likewise",
    ("slo:coverage:ratio", "> -> >="): "at the first evaluation no event has been counted yet",
    ("slo:coverage:ratio of scrapes", "> -> >="): "likewise",
}
_FILES: Final = ("recording.yaml", "alerts.yaml")


@dataclass(frozen=True)
class Mutant:
    """One broken rule, the rules beside it, and the tests that must notice: contents by file name."""

    rule: str
    change: str
    recordings: list[Rule]
    alerts: list[Rule]
    tests: dict[str, Any]

    def survives(self) -> bool:
        """Run the tests; they pass when nobody noticed."""
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "rules").mkdir()
            (folder / "tests").mkdir()
            for file, rules in zip(_FILES, (self.recordings, self.alerts), strict=True):
                (folder / "rules" / file).write_text(yaml.safe_dump({"groups": [{"name": file, "rules": rules}]}))
            for file, content in self.tests.items():
                loaded = {"rule_files": [f"../rules/{name}" for name in _FILES], "group_eval_order": list(_FILES)}
                (folder / "tests" / file).write_text(yaml.safe_dump(content | loaded))
            paths = [str(folder / "tests" / file) for file in self.tests]
            done = subprocess.run(["promtool", "test", "rules", *paths], capture_output=True, check=False)
            return done.returncode == 0


def rules(file: str) -> list[Rule]:
    """Read the rules of a generated file, without their groups."""
    groups = yaml.safe_load((ALERTS / "rules" / file).read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


@dataclass(frozen=True)
class PromiseMutant:
    """One broken rule of a promise, the rules that it stands on and that stand on it, and the tests that notice."""

    rule: str
    change: str
    groups: list[dict[str, Any]]
    tests: dict[str, dict[str, Any]]

    def survives(self) -> bool:
        """Run the tests; they pass when nobody noticed."""
        if not self.tests:
            return True
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "rules.yaml").write_text(yaml.safe_dump({"groups": self.groups}))
            for file, content in self.tests.items():
                (folder / file).write_text(yaml.safe_dump(content | {"rule_files": ["rules.yaml"]}))
            paths = [str(folder / file) for file in self.tests]
            done = subprocess.run(["promtool", "test", "rules", *paths], capture_output=True, check=False)
            return done.returncode == 0


def promise_mutants(named: Sequence[str]) -> Iterator[PromiseMutant]:
    """Yield the mutants of the promises' rules: of each form once, as one line of alerts/promises.py makes all of it.

    A form is a rule without its promise and its window. What a promise or a window has of its own, such as a counter,
    a matcher or a range, is broken in each. Of rules that are not named there are none; without names there are all.
    """
    seen: set[tuple[str, ...]] = set()
    shared = promise_shared.rules()
    for rule in shared:
        for change, mutant in _changes(rule, rule["record"]):
            beside = [(mutant if each is rule else each) for each in shared if mutant or each is not rule]
            tests = {"shared.yaml": promise_shared.test()}
            yield PromiseMutant(rule["record"], change, [{"name": "all", "rules": beside}], tests)
    for slo in promises.COUNTERS:
        groups = promises.rule_groups(slo)[:-1]
        for rule in [rule for group in groups for rule in group["rules"] if "sloth_slo" in rule.get("labels", {})]:
            form = re.sub(r"(?<=[a-z])\d+[mhd]$", "", rule["record"])
            form += " of days" if "slo:counter:sum" in rule["expr"] else ""
            form += " of scrapes" if "up{" in rule["expr"] else ""
            told: Counter[str] = Counter()
            wanted = not named or rule["record"] in named
            concerned = _concerned(slo, groups, rule) if wanted else None
            for change, mutant in _changes(rule, rule["record"]):
                text = re.sub(r" at \d+$", "", change).replace(slo, "SLO")
                told[text] += 1
                # Unbroken, gone or with another name, each rule must be missed.
                own = (rule["record"], slo) if change in ("", "deleted", "another name") else (text, str(told[text]))
                if (form, *own) in seen or (form, text) in PROMISES_EQUIVALENT:
                    continue
                seen.add((form, *own))
                if concerned is not None:
                    yield concerned.mutant(f"{rule['record']} ({slo})", change, mutant)


@dataclass(frozen=True)
class _Concerned:
    """A rule of a promise, and what has to do with it: rules by group, in their order, and tests."""

    rule: Rule
    groups: list[dict[str, Any]]
    tests: dict[str, dict[str, Any]]

    def mutant(self, name: str, change: str, mutant: Rule | None) -> PromiseMutant:
        """Return the same with another rule in place of this one, or with none."""
        groups = [
            group
            | {
                "rules": [
                    mutant if each is self.rule else each for each in group["rules"] if mutant or each is not self.rule
                ]
            }
            for group in self.groups
        ]
        return PromiseMutant(name, change, [group for group in groups if group["rules"]], self.tests)


def _concerned(slo: str, groups: list[dict[str, Any]], rule: Rule) -> _Concerned:
    every = [each for group in groups for each in group["rules"]]
    above = _standing_above(every, rule)
    tests = promise_files.files((slo,), ("short", "long"))
    for content in tests.values():
        for told in content["tests"]:
            asks = told["promql_expr_test"]
            told["promql_expr_test"] = [ask for ask in asks if above & {*re.findall(r"[\w:]+", ask["expr"])}]
        content["tests"] = [told for told in content["tests"] if told["promql_expr_test"]]
    asked = {f"{name}.yaml": each for name, each in tests.items() if each["tests"]}
    kept = [id(each) for each in standing_on(every, yaml.safe_dump(asked))]
    rules = [
        {"name": group["name"], "rules": [each for each in group["rules"] if id(each) in kept]} for group in groups
    ]
    return _Concerned(rule, rules, asked)


def _standing_above(rules: list[Rule], rule: Rule) -> set[str]:
    """Return the names of a rule and of all that stand on it."""
    above = {rule["record"]}
    while more := {each["record"] for each in rules if above & {*re.findall(r"[\w:]+", each["expr"])}} - above:
        above |= more
    return above


def mutants() -> Iterator[Mutant]:
    """Yield every mutant of every rule; each rule once unbroken too, to prove that its tests pass on it."""
    recordings, alerts = rules("recording.yaml"), rules("alerts.yaml")
    tests = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in (ALERTS / "tests").glob("*.yaml")}
    for rule in alerts:
        own = {rule["alert"] + ".yaml": _expecting(tests[rule["alert"]], rule)}
        beneath = standing_on(recordings, rule["expr"] + yaml.safe_dump(own))
        for change, mutant in _changes(rule, rule["alert"]):
            yield Mutant(_title(rule), change, beneath, [mutant] if mutant else [], own)
    for rule in recordings:
        standing = {alert["alert"] for alert in alerts if rule["record"] in alert["expr"]} - {"MetricAbsent"}
        beside = [alert for alert in alerts if alert["alert"] in standing]
        files = {
            name + ".yaml": {**tests[name], "tests": [_only(case, standing) for case in tests[name]["tests"]]}
            for name in sorted(standing)
        }
        named = " ".join(alert["expr"] for alert in beside) + yaml.safe_dump(files)
        others = [other for other in standing_on(recordings, named) if other is not rule]
        for change, mutant in _changes(rule, rule["record"]):
            yield Mutant(rule["record"], change, [*others, *([mutant] if mutant else [])], beside, files)
    panels = yaml.safe_load(PANEL_TESTS.read_text(encoding="utf-8"))
    for rule in rules("panels.yaml"):
        own = {PANEL_TESTS.name: _about(panels, rule["record"])}
        for change, mutant in _changes(rule, rule["record"]):
            yield Mutant(rule["record"], change, [mutant] if mutant else [], [], own)


def standing_on(rules: list[Rule], text: str) -> list[Rule]:
    """Return the rules that a text names, and those that they stand on, in their order: promtool is slow with all."""
    names = {id(rule): str(rule.get("alert") or rule["record"]) for rule in rules}
    needed: set[str] = set()
    while more := {*names.values()} & {*re.findall(r"[\w:]+", text)} - needed:
        needed |= more
        text = " ".join(rule["expr"] for rule in rules if names[id(rule)] in more)
    return [rule for rule in rules if names[id(rule)] in needed]


def _changes(rule: Rule, name: str) -> Iterator[tuple[str, Rule | None]]:
    yield "", rule
    yield "deleted", None
    for change, mutant in of_rule(rule):
        # A quantile does not depend on the scale.
        scale = change.startswith("rate -> increase") and rule["expr"].startswith("histogram_quantile(")
        if (name, change) not in EQUIVALENT and not scale and _on_labels_of_both(mutant["expr"]):
            yield change, mutant


def _on_labels_of_both(expr: str) -> bool:
    """Tell whether test_external_labels.py lets an expression pass; no promtool test can see what it notices."""
    try:
        has_external(promql_parser.parse(expr))
    except ValueError:
        return False
    return True


def _title(rule: Rule) -> str:
    static = ", ".join(value for key, value in rule["labels"].items() if key != "severity")
    return str(rule["alert"]) + (f" ({static})" if static else "")


def _only(case: Rule, alerts: set[str]) -> Rule:
    """Leave of a test case what it expects of some alerts."""
    checks = [check for check in case.get("alert_rule_test", ()) if check["alertname"] in alerts]
    return {**case, "alert_rule_test": checks}


def _about(test: Rule, record: str) -> Rule:
    """Leave of a test file what it expects of one recorded series."""
    cases = [
        {**case, "promql_expr_test": [check for check in case["promql_expr_test"] if record in check["expr"]]}
        for case in test["tests"]
    ]
    return {**test, "tests": cases}


def _expecting(test: Rule, rule: Rule) -> Rule:
    """Leave of a test file what it expects of one rule: its alert's name and the labels that the rule itself sets."""
    static = {key: value for key, value in rule["labels"].items() if key != "severity"}

    def mine(labels: dict[str, Any]) -> bool:
        return all(str(labels.get(key)) == value for key, value in static.items())

    cases = []
    for case in test["tests"]:
        checks = [
            {**check, "exp_alerts": [alert for alert in check["exp_alerts"] if mine(alert["exp_labels"])]}
            for check in case.get("alert_rule_test", ())
            if check["alertname"] == rule["alert"]
        ]
        expressions = [
            check
            for check in case.get("promql_expr_test", ())
            if all(f'{key}="{value}"' in check["expr"] for key, value in static.items())
        ]
        cases.append({**case, "alert_rule_test": checks, "promql_expr_test": expressions})
    return {**test, "tests": cases}


def main() -> int:
    """Run the mutants of all rules, or of those that are named, on all cores; print the survivors and killed/total.

    Returns:
        1 if a mutant survived or an unbroken rule failed its tests, else 0.
    """
    named = sys.argv[1:]
    there_are: list[Mutant | PromiseMutant] = [*mutants(), *promise_mutants(named)]
    every = [mutant for mutant in there_are if not named or mutant.rule.split(" ")[0] in named]
    survived: list[bool] = []
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for lives in pool.map(lambda mutant: mutant.survives(), every):
            survived.append(lives)
            print(f"\r{len(survived)} of {len(every)} tried", end="", file=sys.stderr)  # noqa: T201 - progress
    print(file=sys.stderr)  # noqa: T201 - progress
    sound = [mutant for mutant, lives in zip(every, survived, strict=True) if not mutant.change and not lives]
    alive = [mutant for mutant, lives in zip(every, survived, strict=True) if mutant.change and lives]
    for mutant in sound:
        print(f"fails unbroken: {mutant.rule}")  # noqa: T201 - its report
    for mutant in alive:
        print(f"survived: {mutant.rule}: {mutant.change}")  # noqa: T201 - its report
    total = sum(bool(mutant.change) for mutant in every)
    print(f"{total - len(alive)} of {total} mutants of {len(every) - total} rules killed")  # noqa: T201 - its report
    return 1 if alive or sound else 0


if __name__ == "__main__":
    sys.exit(main())
