"""A lab for each test that asks for one. Leaves live tests out whose servers are missing: as root or in CI an error."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lab.running.workspace import ROOT
from lab.stack import Lab

if TYPE_CHECKING:
    from collections.abc import Iterator

_HERE = Path(__file__).parent
_LEFT_OUT = pytest.StashKey[tuple[list[str], list[str]]]()  # programs that are missing, tests that need them


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A lab with no server started; a module whose tests can share one has its own fixture of this name."""
    with Lab() as lab:
        yield lab


@pytest.hookimpl(trylast=True)  # when -k, -m and --deselect have had their say
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    live = [item for item in items if item.path.is_relative_to(_HERE)]
    asked = subprocess.run([ROOT / "lab/install.sh", "missing"], check=True, capture_output=True, text=True)
    missing = asked.stdout.split()
    if not live or not missing:
        return
    if os.geteuid() == 0 or os.environ.get("CI") == "true":
        raise pytest.UsageError(f"not installed: {', '.join(missing)}; run `make test`, it installs them")
    config.hook.pytest_deselected(items=live)
    items[:] = [item for item in items if item not in live]
    config.stash[_LEFT_OUT] = (missing, [item.nodeid for item in live])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if left_out := config.stash.get(_LEFT_OUT, None):
        missing, tests = left_out
        terminalreporter.section(f"left out, because not installed: {', '.join(missing)}")
        for test in tests:
            terminalreporter.line(f"  {test}")
        terminalreporter.line("`make test` says above how to install them.")
