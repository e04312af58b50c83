"""Compares our rules with sloth's for the same promises (`python -m` this module, with the path of sloth 0.12).

promtool evaluates both on the counters of the same stories (promise_stories). It prints a row for each story with what
differs by intention, and ends with 1 if something else does. Nothing of the project needs sloth.
"""

from __future__ import annotations

import math
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from alerts.catalogue import KNOBS
from alerts.objectives import SERVICE, Objective, load
from tests.alerts.promise_stories import stories
from tests.alerts.promises import COUNTERS, case, rule_groups

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.alerts.promises import Story

Values = dict[tuple[str, str], float]

# The same by intention: so far apart, of the larger, is rounding.
SAME: Final = (
    *(f"slo:sli_error:ratio_rate{window}" for window in ("5m", "30m", "1h", "2h", "6h", "1d", "3d")),
    "slo:current_burn_rate:ratio",
    "slo:error_budget:ratio",
    "slo:objective:ratio",
    "slo:time_period:days",
)
# What sloth takes for the ratio of 30 days; of our series it must give the same.
_MEAN: Final = "avg_over_time(slo:sli_error:ratio_rate5m[30d])"
_DAYS: Final = "slo:sli_error:ratio_rate30d"
_ONCE: Final = (_DAYS, _MEAN, "from", "to")
_ROUNDING: Final = 1e-6
_MINUTES: Final = (66, 70, 80, 90)
_GOT: Final = re.compile(r'expr: "(?P<expr>[^\n]*)", time: (?P<time>\w+),\s+exp: nil\s+got: \{\} (?P<value>\S+)')


def spec(objective: Objective) -> dict[str, Any]:
    """Return one promise as sloth reads it: its counters, and nothing of our own rules."""

    def rates(terms: str) -> str:
        return " ".join(
            term if term in "+-" else f"sum(rate({term}[{{{{.window}}}}]))" for term in re.split(r" ([-+]) ", terms)
        )

    return {
        "version": "prometheus/v1",
        "service": SERVICE,
        "slos": [
            {
                "name": objective.name,
                "objective": objective.percent,
                "sli": {
                    "events": {
                        "error_query": f"({rates(objective.total)}) - ({rates(objective.good)})",
                        "total_query": f"({rates(objective.total)})",
                    }
                },
                "alerting": {"name": "Sloth", "page_alert": {}, "ticket_alert": {}},
            }
        ],
    }


def generated(sloth: str, objective: Objective) -> list[dict[str, Any]]:
    """Return the groups of rules that sloth makes."""
    done = subprocess.run(
        [sloth, "generate", "--no-log", "-i", "/dev/stdin"],
        input=yaml.safe_dump(spec(objective)),
        capture_output=True,
        text=True,
        check=True,
    )
    groups: list[dict[str, Any]] = yaml.safe_load(done.stdout)["groups"]
    return [{"name": group["name"], "rules": group["rules"]} for group in groups]


def evaluate(groups: Sequence[dict[str, Any]], slo: str, story: Story) -> Values:
    """Return each series' value by its name and minute, and the minutes of its page; promtool evaluates."""
    told = case(slo, story)
    end = sum(segment[0] for segment in story.segments(COUNTERS[slo].places[0]))
    page = 'timestamp(ALERTS{sloth_severity="page",alertstate="firing"})'
    asks = [(f"sum({name})", minute) for name in SAME for minute in (*_MINUTES, end)]
    asks += [(f"sum({name})", end) for name in (_DAYS, _MEAN)]
    asks += [(f"max({each}_over_time({page}[{end}m:1m])) / 60", end) for each in ("min", "max")]
    told["alert_rule_test"] = []
    told["promql_expr_test"] = [
        {"expr": expr, "eval_time": f"{minute}m", "exp_samples": []} for expr, minute in dict.fromkeys(asks)
    ]
    with tempfile.TemporaryDirectory() as name:
        rules, test = Path(name, "rules.yaml"), Path(name, "test.yaml")
        rules.write_text(yaml.safe_dump({"groups": groups}), encoding="utf-8")
        document = {"rule_files": [rules.name], "evaluation_interval": "1m", "tests": [told]}
        document["group_eval_order"] = [group["name"] for group in groups]
        test.write_text(yaml.safe_dump(document), encoding="utf-8")
        done = subprocess.run(["promtool", "test", "rules", test], capture_output=True, text=True, check=False)
    said = (done.stdout + done.stderr).replace('\\"', '"')
    found = {(match["expr"], match["time"]): float(match["value"]) for match in _GOT.finditer(said)}
    if len(found) != said.count("got: {}") or not found:
        raise RuntimeError(said)
    return {(_name(expr), "" if _name(expr) in _ONCE else time): value for (expr, time), value in found.items()}


def _name(expr: str) -> str:
    if "ALERTS" in expr:
        return "from" if "min_over_time" in expr else "to"
    return expr.removeprefix("sum(").removesuffix(")")


def apart(one: float, other: float) -> bool:
    """Tell whether two values differ; not a number is what a series without a sample is, too."""
    if math.isnan(one) or math.isnan(other):
        return math.isnan(one) != math.isnan(other)
    return abs(one - other) > _ROUNDING * max(abs(one), abs(other), 1e-3)


def wrong(theirs: Values, ours: Values) -> Iterator[str]:
    """Yield what differs and should not."""
    for name, time in sorted(theirs.keys() | ours.keys()):
        his, mine = theirs.get((name, time), math.nan), ours.get((name, time), math.nan)
        if name == _DAYS:
            mine = ours.get((_MEAN, ""), math.nan)
        # One window of five minutes without an event is not a number, and then nor is their mean, for 30 days.
        empty = name == _DAYS and math.isnan(his)
        if name in (*SAME, _DAYS) and not empty and apart(his, mine):
            yield f"{name} at {time or 'the end'}: sloth {his:g}, ours {mine:g}"


def row(values: Values) -> str:
    """Return when a page is there, in minutes, and the ratio of 30 days, as two cells."""
    begins, ends, days = (values.get((name, "")) for name in ("from", "to", _DAYS))
    page = "no page" if begins is None else f"{begins:.0f} to {ends:.0f}"
    return f"{page} | {'none' if days is None else f'{days:.2%}'}"


def main() -> int:
    """Compare all stories of all promises; return 1 if what is meant to be the same is not."""
    (sloth,) = sys.argv[1:]
    failed = 0
    print("| promise | story | sloth pages | sloth, 30d | ours | ours, 30d |\n|---|---|---|---|---|---|")  # noqa: T201 - its report
    for slo, objective in load(KNOBS).objectives.items():
        groups = generated(sloth, objective)
        for story in stories(slo):
            theirs, ours = evaluate(groups, slo, story), evaluate(rule_groups(slo), slo, story)
            print(f"| {slo} | {story.name} | {row(theirs)} | {row(ours)} |", flush=True)  # noqa: T201 - its report
            for line in wrong(theirs, ours):
                failed += 1
                print(f"WRONG: {line}")  # noqa: T201 - its report
    print(f"{failed} differences where there should be none")  # noqa: T201 - its report
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
