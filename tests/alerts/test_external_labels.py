"""On a long-term store a rule means what it means in Prometheus, though every series has external labels there.

What an aggregation leaves does not have them, so it matches a series only `on` labels that both have.
"""

from __future__ import annotations

import promql_parser as promql
import pytest

from tests.alerts.mutation import rules
from tests.alerts.promql import has_external

EVERY = [
    (str(rule.get("alert") or rule["record"]), rule["expr"])
    for file in ("recording.yaml", "panels.yaml", "promises.yaml", "alerts.yaml", "checklist.yaml")
    for rule in rules(file)
]


@pytest.mark.parametrize(("rule", "expr"), EVERY)
def test_nothing_that_has_them_is_matched_on_all_labels_with_what_has_not(rule: str, expr: str) -> None:
    try:
        has_external(promql.parse(expr))
    except ValueError as error:
        pytest.fail(f"{rule}: {error}")


@pytest.mark.parametrize("expr", ["a and sum by (job) (b)", "vector(1) / b", "a * on (job) b unless c"])
def test_a_rule_that_matches_the_two_is_found(expr: str) -> None:
    with pytest.raises(ValueError, match="all labels"):
        has_external(promql.parse(expr))
