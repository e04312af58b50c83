"""promtool runs the tests of every rule, which notice a broken one, and finds nothing to say about the rules."""

from __future__ import annotations

import itertools
import subprocess
from pathlib import Path

import pytest
import yaml

from alerts.generate import RULES
from tests.alerts.mutation import PANEL_TESTS, mutants, standing_on

TESTS = Path(__file__).parents[2] / "alerts" / "tests"
FILES = [*sorted(TESTS.glob("*.yaml")), PANEL_TESTS]
STRIDE = 101  # of the mutants that are tried here; `make mutants` tries them all


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_promtool_passes(file: Path, tmp_path: Path) -> None:
    """With the rules that the file speaks of, and what they stand on: with all of them it takes ten times as long."""
    test = yaml.safe_load(file.read_text(encoding="utf-8"))
    cases = yaml.safe_dump(test["tests"])
    originals = [(file.parent / name).resolve() for name in test["rule_files"]]
    documents = [yaml.safe_load(original.read_text(encoding="utf-8")) for original in originals]
    needed = standing_on([rule for one in documents for group in one["groups"] for rule in group["rules"]], cases)
    assert needed, "no rule is tested"
    for original, document in zip(originals, documents, strict=True):
        for group in document["groups"]:
            group["rules"] = [rule for rule in group["rules"] if rule in needed]
        (tmp_path / original.name).write_text(yaml.safe_dump(document))
    (tmp_path / file.name).write_text(yaml.safe_dump(test | {"rule_files": [original.name for original in originals]}))
    command = ["promtool", "test", "rules", str(tmp_path / file.name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_takes_a_file_as_it_is() -> None:
    command = ["promtool", "test", "rules", str(TESTS / "Watchdog.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


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
