"""The demo as a person runs it: it says what it found, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import psutil
import pytest

from lab.running.workspace import ROOT
from lab.servers.grafana import home

if TYPE_CHECKING:
    from pathlib import Path


class Demo:
    """A running demo whose temporary files go to a folder of their own."""

    def __init__(self, temporary: Path, *arguments: str) -> None:
        self.temporary = temporary
        self.process = subprocess.Popen(
            ["env", "--default-signal=INT", sys.executable, "-m", "lab.demo", *arguments],
            cwd=ROOT,
            env=os.environ | {"TMPDIR": str(temporary)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.servers: list[psutil.Process] = []

    def run_until(self, words: str) -> str:
        """Return what it has said until then."""
        assert self.process.stdout is not None
        said = ""
        for line in self.process.stdout:
            said += line
            if words in line:
                break
        self.servers = psutil.Process(self.process.pid).children()
        return said

    def end(self) -> tuple[int, str, str]:
        output, errors = self.process.communicate()
        assert psutil.wait_procs(self.servers, timeout=60)[1] == []
        assert list(self.temporary.iterdir()) == [], (output, errors)
        return self.process.returncode, output, errors


@pytest.fixture
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("d")  # short, for the path of Prosody's socket


def test_two_run_side_by_side_and_a_target_that_is_down_fails_the_one_that_it_is_of(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    # That --once ends with 0 if all is well, `make demo ONCE=1` in .ci/run shows.
    once = Demo(tmp_path_factory.mktemp("a"), "--once")
    watched = Demo(tmp_path_factory.mktemp("b"))
    once.run_until("Waiting until")
    next(server for server in once.servers if "exporters.prosody" in server.cmdline()).suspend()  # the first node's
    summary = watched.run_until("Running until Ctrl-C.")
    servers = len(watched.servers)
    watched.process.send_signal(signal.SIGINT)
    assert watched.end() == (0, "\nStopped; nothing is left behind.\n", "")
    assert servers == 23 + (home() is not None)
    assert "All targets are up and every metric has samples." in summary
    assert "MISSING" not in summary
    code, output, errors = once.end()
    assert code == 1
    assert "target prosody prosody1 is down" in errors
    assert "  down    prosody" in output


@pytest.mark.parametrize("moment", ["Starting", "monitoring-exporter"])
def test_ctrl_c_at_any_moment_leaves_nothing_behind(temporary: Path, moment: str) -> None:
    demo = Demo(temporary)
    demo.run_until(moment)
    demo.process.send_signal(signal.SIGINT)
    code, output, errors = demo.end()
    assert (code, errors) == (0, "")
    assert output.endswith("\nStopped; nothing is left behind.\n")


def test_once_a_crashed_server_fails_it_in_one_line_with_the_servers_last_words(temporary: Path) -> None:
    demo = Demo(temporary, "--once")
    demo.run_until("Waiting until")
    next(server for server in demo.servers if "prosody1/prosody.cfg.lua" in " ".join(server.cmdline())).kill()
    code, _, errors = demo.end()
    assert code == 1
    assert errors.startswith("demo failed: prosody1 ended by itself with exit code -9; its last log lines:\n")
