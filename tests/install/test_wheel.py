"""The wheel has what a host runs, and nothing that needs a checkout."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

from lab.running.workspace import ROOT

if TYPE_CHECKING:
    from pathlib import Path


def test_the_wheel_has_neither_tests_nor_what_writes_into_a_checkout(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(tmp_path),
        str(ROOT),
    ]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"alerts/generate.py", "alerts/thresholds.yaml", "alerts/jobs.py", "check/contract.py"} <= names
    assert not [name for name in names if "/tests/" in name or name.startswith(("tests/", "lab/", "bench/"))]
    assert not {"alerts/documents.py", "alerts/scraping.py"} & names
