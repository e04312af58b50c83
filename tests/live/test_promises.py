"""promtool follows each promise from an exporter's counters to its page, through what may happen to it."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.alerts import promise_stories

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.timeout(900)  # seventy cases, each of them hours of minutes
def test_every_promise_pages_when_users_notice_and_never_else(tmp_path: Path) -> None:
    paths = promise_stories.write(tmp_path)
    done = subprocess.run(["promtool", "test", "rules", *map(str, paths)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
