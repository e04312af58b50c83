"""promtool follows each promise from an exporter's counters to its page, through what may happen to it."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.alerts import promise_files, promise_shared

if TYPE_CHECKING:
    from pathlib import Path


def test_the_rules_of_all_promises_keep_them_apart(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": promise_shared.rules()}]}))
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(promise_shared.test() | {"rule_files": ["rules.yaml"]}))
    command = ["promtool", "test", "rules", str(tmp_path / "test.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(900)  # a hundred cases, each of them hours of minutes
def test_every_promise_pages_when_users_notice_and_never_else(tmp_path: Path) -> None:
    paths = promise_files.write(tmp_path)
    done = subprocess.run(["promtool", "test", "rules", *map(str, paths)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
