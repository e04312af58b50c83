"""promtool's test files about the promises (stories, windows, tickets), and the rules for them. Runs nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import yaml

from tests.alerts.promise_stories import stories
from tests.alerts.promise_windows import chronicle, ticket, unnumbered, years, young
from tests.alerts.promises import COUNTERS, Case, case, rule_groups

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


KINDS: Final = ("stories", "counted", "short", "long", "ticket")
# What the tests of a file do not ask for would only take time: it is evaluated every minute of every story.
_LEFT_OUT: Final = {
    "pages": ("2h", "1d", "3d", "coverage", "due", "known_cause", "30d", "counter", "period"),
    "counts": ("2h", "1d", "3d", "coverage", "due", "known_cause"),
    "rules": (),
}


def _days(told: Case) -> bool:
    """Tell whether a story asks for what 30 days hold."""
    return any(word in ask["expr"] for ask in told["promql_expr_test"] for word in ("30d", "period"))


def files(slos: Sequence[str], kinds: Sequence[str] = KINDS) -> dict[str, dict[str, Any]]:
    """Return promtool's test files by name, without the rules: those of each promise are in `rule_groups`."""
    found = {}
    for slo in slos:
        told = [case(slo, story) for story in stories(slo)] if {*kinds} & {"stories", "counted"} else []
        for name, rules, every, cases in (
            ("stories", "pages", "1m", [each for each in told if not _days(each)]),
            ("counted", "counts", "1m", [each for each in told if _days(each)]),
            ("short", "rules", "1h", [chronicle(slo), *young(slo), unnumbered(slo)]),
            ("long", "rules", "6h", [years(slo)]),
            ("ticket", "rules", "15m", [ticket(slo)]),
        ):
            if name not in kinds:
                continue
            found[f"{slo}-{name}"] = {
                "rule_files": [f"{slo}.{rules}.yaml"],
                "group_eval_order": ["promises", "promises-days", "pages"],
                "evaluation_interval": every,
                "tests": cases,
            }
    return found


def write(folder: Path) -> list[Path]:
    """Write all test files and the rules of all promises into a folder; return the test files."""
    for slo in COUNTERS:
        groups = rule_groups(slo)
        for name, words in _LEFT_OUT.items():
            kept = [
                group
                | {
                    "rules": [
                        rule for rule in group["rules"] if not any(word in rule.get("record", "") for word in words)
                    ]
                }
                for group in groups
            ]
            (folder / f"{slo}.{name}.yaml").write_text(yaml.safe_dump({"groups": kept}), encoding="utf-8")
    paths = []
    for name, content in files(tuple(COUNTERS)).items():
        paths.append(folder / f"{name}.yaml")
        paths[-1].write_text(yaml.safe_dump(content), encoding="utf-8")
    return paths
