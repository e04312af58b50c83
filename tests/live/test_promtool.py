"""promtool runs the tests of every rule, which notice a broken one, and finds nothing to say about the rules."""

from __future__ import annotations

import itertools
import subprocess
from pathlib import Path

import pytest
import yaml

from alerts.generate import RULES
from tests.alerts.mutation import PANEL_TESTS, mutants

TESTS = Path(__file__).parents[2] / "alerts" / "tests"
STRIDE = 101  # of the mutants that are tried here; `make mutants` tries them all


@pytest.mark.timeout(400)  # a hundred cases, some of them days long
def test_promtool_passes_every_test_file(capsys: pytest.CaptureFixture[str]) -> None:
    files = [*sorted(TESTS.glob("*.yaml")), PANEL_TESTS]
    done = subprocess.run(["promtool", "test", "rules", *map(str, files)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    cases = [case for file in files for case in yaml.safe_load(file.read_text())["tests"]]
    checks = sum(len(case.get(kind, ())) for case in cases for kind in ("alert_rule_test", "promql_expr_test"))
    with capsys.disabled():
        print(f"\npromtool: {len(files)} files, {len(cases)} cases, {checks} checks passed")  # noqa: T201 - how many, for the person who ran them


def test_promtool_finds_nothing_to_say_about_the_rules() -> None:
    command = ["promtool", "check", "rules", "--lint=all", "--lint-fatal", *map(str, RULES.glob("*.yaml"))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_sample_of_broken_rules_is_noticed(capsys: pytest.CaptureFixture[str]) -> None:
    whole, *sample = itertools.islice(mutants(), 0, None, STRIDE)
    assert not whole.change
    assert whole.survives(), "an unbroken rule must pass, or the others were noticed for nothing"
    broken = [mutant for mutant in sample if mutant.change]
    assert not [f"{mutant.rule}: {mutant.change}" for mutant in broken if mutant.survives()]
    with capsys.disabled():
        print(f"\nmutants: {len(broken)} of {len(broken)} tried were noticed; `make mutants` tries them all")  # noqa: T201 - how many, for the person who ran them
