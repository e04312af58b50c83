"""A thresholds file that cannot be used is one clear line, exit code 2, and the rules that were there stay."""

from __future__ import annotations

import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import yaml

from alerts import thresholds
from alerts.catalogue import KNOBS
from alerts.generate import main
from alerts.thresholds import DEFAULTS, load
from lab.running.workspace import ROOT
from toolkit.documents import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

BAD = {
    "an empty file": ("", "my.yaml: holds no alerts; write `ProsodyMemoryHigh:` and, indented, its keys"),
    "a list": ("- a\n", "my.yaml:1: holds no alerts; write `ProsodyMemoryHigh:` and, indented, its keys"),
    "no YAML": (
        "ProsodyMemoryHigh:\n  value: [1\n  reason: x\n",
        "my.yaml:3: not valid YAML: expected ',' or ']', but got ':'",
    ),
    "a tab": (
        "ProsodyMemoryHigh:\n\tvalue: 1\n",
        "my.yaml:2: not valid YAML: found character '\\t' that cannot start any token",
    ),
    "an unknown alert": (
        "\nProsodyMemoryHih:\n  value: 1\n  reason: x\n",
        "my.yaml:2: there is no alert named ProsodyMemoryHih; the names are those of docs/runbooks/",
    ),
    "an alert without keys": (
        "ProsodyMemoryHigh: 5\n",
        "my.yaml:1: ProsodyMemoryHigh must be a mapping of keys such as `for` and `reason`",
    ),
    "an unknown key": (
        "ProsodyMemoryHigh:\n  reason: x\n  treshold: 1\n",
        (
            "my.yaml:3: ProsodyMemoryHigh has an unknown key treshold; known are "
            "for, severity, section, reason, value, unit, window, minimum, minimum_of, share, sizing"
        ),
    ),
    "a key twice": (
        "ProsodyMemoryHigh:\n  reason: x\n  value: 1\n  value: 2\n",
        "my.yaml:4: 'value' is given twice in ProsodyMemoryHigh, first on line 3",
    ),
    "an alert twice": (
        "ProsodyMemoryHigh:\n  reason: x\nProsodyMemoryHigh:\n  reason: y\n",
        "my.yaml:3: 'ProsodyMemoryHigh' is given twice in the file, first on line 1",
    ),
    "a text for a number": (
        "ProsodyMemoryHigh:\n  reason: x\n  value: 6e9\n",
        "my.yaml:3: ProsodyMemoryHigh: value must be a number (YAML reads 6e9 as text: write 6_000_000_000)",
    ),
    "a truth for a number": (
        "ProsodyMemoryHigh:\n  reason: x\n  value: yes\n",
        "my.yaml:3: ProsodyMemoryHigh: value must be a number (YAML reads 6e9 as text: write 6_000_000_000)",
    ),
    "a list for a number": (
        "ProsodyMemoryHigh:\n  reason: x\n  value: [1]\n",
        "my.yaml:3: ProsodyMemoryHigh: value must be a number (YAML reads 6e9 as text: write 6_000_000_000)",
    ),
    "a negative number": (
        "ProsodyMemoryHigh:\n  reason: x\n  value: -1\n",
        "my.yaml:3: ProsodyMemoryHigh: value must be a finite number above 0 (severity: none switches off)",
    ),
    "no number at all": (
        "ProsodyMemoryHigh:\n  reason: x\n  value: .nan\n",
        "my.yaml:3: ProsodyMemoryHigh: value must be a finite number above 0 (severity: none switches off)",
    ),
    "a number to another base": (
        "ProsodyMemoryHigh:\n  reason: x\n  value: 010\n",
        "my.yaml:3: ProsodyMemoryHigh: value must be a number in decimal digits (YAML reads 010 as 8 and 1:30 as 90)",
    ),
    "minutes and seconds for a number": (
        "ProsodyMemoryHigh:\n  reason: x\n  value: 1:30\n",
        "my.yaml:3: ProsodyMemoryHigh: value must be a number in decimal digits (YAML reads 010 as 8 and 1:30 as 90)",
    ),
    "a text that is tagged a number": (
        "ProsodyMemoryHigh:\n  reason: x\n  value: !!int many\n",
        "my.yaml:3: ProsodyMemoryHigh: value must be a number in decimal digits (YAML reads 010 as 8 and 1:30 as 90)",
    ),
    "a text that is tagged a truth": (
        "ProsodyMemoryHigh:\n  reason: !!bool perhaps\n",
        "my.yaml:2: ProsodyMemoryHigh: reason must be a text that says something (in quotes if it looks like a number)",
    ),
    "more digits than a number holds": (
        f"ProsodyMemoryHigh:\n  reason: x\n  value: 1{'0' * 5000}\n",
        "my.yaml:3: ProsodyMemoryHigh: value must be a finite number above 0 (severity: none switches off)",
    ),
    "a list for a name": (
        "[ProsodyMemoryHigh, ProsodyDown]:\n  reason: x\n",
        "my.yaml:1: a key of the file must be a single name, not a list or a mapping",
    ),
    "a list for a key": (
        "ProsodyMemoryHigh:\n  reason: x\n  [value]: 1\n",
        "my.yaml:3: a key of ProsodyMemoryHigh must be a single name, not a list or a mapping",
    ),
    "a nest": ("[" * 3000, "my.yaml: not valid YAML: nested too deeply"),
    "a percentage": (
        "PushVoipFailuresHigh:\n  reason: x\n  value: 5\n",
        "my.yaml:3: PushVoipFailuresHigh: value is a ratio and must be below 1 (5 % is 0.05)",
    ),
    "a duration in words": (
        "ProsodyMemoryHigh:\n  reason: x\n  for: 10 minutes\n",
        "my.yaml:3: ProsodyMemoryHigh: for must be a duration such as 90s, 10m or 1h30m",
    ),
    "a duration without a unit": (
        "ProsodyMemoryHigh:\n  reason: x\n  for: 10\n",
        "my.yaml:3: ProsodyMemoryHigh: for must be a duration such as 90s, 10m or 1h30m",
    ),
    "a duration that Prometheus cannot hold": (
        "ProsodyMemoryHigh:\n  reason: x\n  for: 9999999999h\n",
        "my.yaml:3: ProsodyMemoryHigh: for must be a duration such as 90s, 10m or 1h30m",
    ),
    "a duration in digits of another script": (
        "ProsodyMemoryHigh:\n  reason: x\n  for: \u0663m\n",
        "my.yaml:3: ProsodyMemoryHigh: for must be a duration such as 90s, 10m or 1h30m",
    ),
    "a window of no length": (
        "PushLatencyHigh:\n  reason: x\n  window: 0s\n",
        "my.yaml:3: PushLatencyHigh: window must be a duration above 0s such as 90s, 10m or 1h30m",
    ),
    "a severity nobody routes": (
        "ProsodyMemoryHigh:\n  reason: x\n  severity: page\n",
        "my.yaml:3: ProsodyMemoryHigh: severity must be one of critical, warning, none",
    ),
    "no reason": (
        "ProsodyMemoryHigh:\n  value: 7_000_000_000\n",
        "my.yaml:1: ProsodyMemoryHigh has no reason; say why the number is what it is",
    ),
    "a reason that says nothing": (
        "ProsodyMemoryHigh:\n  reason: ' '\n",
        "my.yaml:2: ProsodyMemoryHigh: reason must be a text that says something (in quotes if it looks like a number)",
    ),
    "a number for an alert that takes none": (
        "ProsodyDown:\n  reason: x\n  value: 1\n",
        "my.yaml:3: ProsodyDown takes no value; remove the line",
    ),
    "a window for an alert that takes none": (
        "ProsodyMemoryHigh:\n  reason: x\n  window: 5m\n",
        "my.yaml:3: ProsodyMemoryHigh takes no window; remove the line",
    ),
    "another unit": (
        "ProsodyMemoryHigh:\n  reason: x\n  value: 7\n  unit: GB\n",
        "my.yaml:4: ProsodyMemoryHigh is in bytes; convert the value",
    ),
    "another thing counted": (
        "PushLatencyHigh:\n  reason: x\n  minimum: 5\n  minimum_of: calls\n",
        "my.yaml:4: PushLatencyHigh is in pushes; convert the minimum",
    ),
    "a warning above its critical": (
        "ProsodySessionsHigh:\n  reason: x\n  value: 60_000\n",
        "my.yaml:3: ProsodySessionsHigh (60,000) must warn below ProsodySessionsCritical (50,000); change one of them",
    ),
    "a critical below its warning": (
        "ProsodySessionsCritical:\n  reason: x\n  value: 40_000\n",
        "my.yaml:3: ProsodySessionsHigh (40,000) must warn below ProsodySessionsCritical (40,000); change one of them",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_one_line_with_its_line_number_and_leaves_the_old_rules(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text, line = BAD[kind]
    (tmp_path / "my.yaml").write_text(text)
    out = tmp_path / "rules"
    out.mkdir()
    (out / "alerts.yaml").write_text("the old rules")
    assert main(["--thresholds", "my.yaml", "--output", "rules"]) == 2
    captured = capsys.readouterr()
    assert captured.err == f"generate-rules: {line}\n"
    assert captured.out == ""
    assert {path.name: path.read_text() for path in out.iterdir()} == {"alerts.yaml": "the old rules"}


def test_a_file_that_is_not_there_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["--thresholds", "nowhere.yaml", "--output", str(tmp_path)]) == 2
    assert (
        capsys.readouterr().err
        == "generate-rules: nowhere.yaml: No such file or directory; check --thresholds and the file's permissions\n"
    )


def test_a_file_that_is_not_text_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_bytes(b"\xff\xfe\x00")
    assert main(["--thresholds", str(tmp_path / "my.yaml"), "--output", str(tmp_path)]) == 2
    assert capsys.readouterr().err.endswith("my.yaml: not UTF-8 text\n")


def test_a_folder_that_cannot_be_written_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert main(["--output", str(tmp_path / "file")]) == 2
    assert capsys.readouterr().err == f"generate-rules: {tmp_path}/file: cannot be written: File exists\n"


def test_a_full_disk_is_one_line_and_leaves_the_old_rules(tmp_path: Path) -> None:
    (tmp_path / "recording.yaml").write_text("the old rules")
    script = "ulimit -f 8; exec " + shlex.join([sys.executable, "-m", "alerts.generate", "--output", str(tmp_path)])
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.returncode, done.stderr) == (2, f"generate-rules: {tmp_path}: cannot be written: File too large\n")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"recording.yaml": "the old rules"}


def test_an_override_changes_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    mine = tmp_path / "my.yaml"
    mine.write_text("ProsodyMemoryHigh:\n  value: 12_000_000_000\n  reason: Our nodes have 16 GB.\n")
    before, after = load(KNOBS), load(KNOBS, mine)
    assert after["ProsodyMemoryHigh"].value == 12e9
    assert after["ProsodyMemoryHigh"].limit == "12 GB"
    assert after["ProsodyMemoryHigh"].reason == "Our nodes have 16 GB."
    assert after["ProsodyMemoryHigh"].hold == "10m"
    assert {name for name in after if after[name] != before[name]} == {"ProsodyMemoryHigh"}


def test_both_session_thresholds_can_move_together(tmp_path: Path) -> None:
    mine = tmp_path / "my.yaml"
    mine.write_text(
        "ProsodySessionsHigh:\n  value: 80_000\n  reason: 16 GB\n"
        "ProsodySessionsCritical:\n  value: 100_000\n  reason: 16 GB\n"
    )
    assert load(KNOBS, mine)["ProsodySessionsHigh"].limit == "80,000 sessions"


def test_an_overridden_window_and_threshold_reach_both_rule_files(tmp_path: Path) -> None:
    mine = tmp_path / "my.yaml"
    mine.write_text("PushVoipFailuresHigh:\n  value: 0.1\n  window: 30m\n  for: 1m\n  reason: A drill.\n")
    assert main(["--thresholds", str(mine), "--output", str(tmp_path)]) == 0
    assert "increase(push_voip_sent_total[30m])" in (tmp_path / "recording.yaml").read_text()
    text = (tmp_path / "alerts.yaml").read_text()
    assert text.startswith("# Generated by generate-rules from alerts/thresholds.yaml, my.yaml and alerts/catalogue;")
    rules = {rule["alert"]: rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]}
    rule = rules["PushVoipFailuresHigh"]
    assert rule["expr"] == "instance:push_voip_failed:ratio > 0.1 and increase(push_voip_failed_total[30m]) >= 3"
    assert rule["for"] == "1m"
    assert "(limit 10 %)" in rule["annotations"]["summary"]


@pytest.mark.parametrize(
    ("cut", "problem"),
    [
        ("  unit: bytes\n", "ProsodyMemoryHigh has no unit; its rule needs one"),
        ("  value: 6_000_000_000\n", "ProsodyMemoryHigh has no value; its rule needs one"),
        ("  for: 10m\n", "ProsodyMemoryHigh has no for; its rule needs one"),
        ("  section: x\n", "ProsodyMemoryHigh has no section; its rule needs one"),
    ],
)
def test_our_own_defaults_are_held_to_be_complete(
    cut: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = (
        "ProsodyMemoryHigh:\n  reason: x\n  value: 6_000_000_000\n  unit: bytes\n  for: 10m\n  severity: warning\n"
        "  section: x\n  sizing: x\n"
    )
    ours = tmp_path / "thresholds.yaml"
    ours.write_text(entry.replace(cut, ""))
    monkeypatch.setattr(thresholds, "DEFAULTS", ours)
    with pytest.raises(ConfigError, match=f"thresholds.yaml:2: {problem}"):
        load({"ProsodyMemoryHigh": frozenset({"value"})})


def test_an_alert_of_the_catalogue_without_thresholds_is_named() -> None:
    with pytest.raises(ConfigError, match="NewAlert is in the catalogue and has no entry here; add one"):
        load(KNOBS | {"NewAlert": frozenset()})


def test_every_default_says_its_section_and_reason() -> None:
    for name, entry in yaml.safe_load(DEFAULTS.read_text(encoding="utf-8")).items():
        assert entry["section"], name
        assert len(entry["reason"]) > 30, name
