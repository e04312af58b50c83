"""promtool runs the tests of every rule, which notice a broken one, and finds nothing to say about the rules."""

from __future__ import annotations

import itertools
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from alerts.generate import RULES
from tests.alerts.mutation import PANEL_TESTS, mutants, standing_on

if TYPE_CHECKING:
    from collections.abc import Callable

TESTS = Path(__file__).parents[2] / "alerts" / "tests"
FILES = [*sorted(TESTS.glob("*.yaml")), PANEL_TESTS]
OPEN_ON_THE_LEFT = 3  # the version of Prometheus whose windows are
STRIDE = 101  # of the mutants that are tried here; `make mutants` tries them all


def main_version() -> int:
    """Return the first number of promtool's version."""
    done = subprocess.run(["promtool", "--version"], capture_output=True, text=True, check=True)
    return int(re.findall(r"version (\d+)\.", done.stdout + done.stderr)[0])


def widened(text: str) -> str:
    """Give each window a millisecond more at its beginning.

    Since Prometheus 3 a window leaves out the sample at its very beginning. The samples of a test stand exactly there;
    those of a scrape never do, so both versions agree about them.
    """
    return re.sub(r"\[(\w+)(:\w*)?\]", r"[\g<1>1ms\2]", text)


def complaint(file: Path, test: dict[str, Any], folder: Path, reading: Callable[[str], str] = str) -> str:
    """Run a test file with the rules that it speaks of, and what they stand on; return what promtool finds wrong.

    With all the rules it takes ten times as long.
    """
    cases = yaml.safe_dump(test["tests"])
    originals = [(file.parent / name).resolve() for name in test["rule_files"]]
    documents = [yaml.safe_load(original.read_text(encoding="utf-8")) for original in originals]
    needed = standing_on([rule for one in documents for group in one["groups"] for rule in group["rules"]], cases)
    assert needed, "no rule is tested"
    for original, document in zip(originals, documents, strict=True):
        for group in document["groups"]:
            group["rules"] = [rule for rule in group["rules"] if rule in needed]
        (folder / original.name).write_text(reading(yaml.safe_dump(document, width=10_000)))
    written = yaml.safe_dump(test | {"rule_files": [original.name for original in originals]}, width=10_000)
    (folder / file.name).write_text(reading(written))
    done = subprocess.run(
        ["promtool", "test", "rules", str(folder / file.name)], capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr if done.returncode else ""


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_promtool_passes(file: Path, tmp_path: Path) -> None:
    test = yaml.safe_load(file.read_text(encoding="utf-8"))
    found = complaint(file, test, tmp_path)
    if found and main_version() >= OPEN_ON_THE_LEFT:
        for case in test["tests"]:
            one = test | {"tests": [case]}
            readings = [complaint(file, one, tmp_path), complaint(file, one, tmp_path, widened)]
            assert "" in readings, readings[1]
    else:
        assert not found, found


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
