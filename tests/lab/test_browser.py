"""What is said when there is no browser for the pictures, or one that does not run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lab.running.browser import Shot, take
from lab.running.workspace import LabError

SHOT = Shot("about:blank", (100, 100), Path("/nowhere/picture.png"))


def test_without_a_browser_one_line_names_those_that_would_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LabError, match=r"install one of chromium, chromium-browser, google-chrome$"):
        take([SHOT])


def test_a_browser_that_ends_at_once_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "chromium"
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(LabError, match="the browser does not start: exit code 3"):
        take([SHOT])
