"""Warnings of libraries go to the log as one line, and not directly to standard error."""

from __future__ import annotations

import subprocess
import sys


def test_a_warning_is_one_line_of_the_log() -> None:
    code = "import warnings; from toolkit import logs; logs.setup('info', 'logfmt'); warnings.warn('old')"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr
    [line] = said.splitlines()
    assert "level=warn" in line
    assert "old" in line
