"""What chaos is made of really breaks, and a run that is interrupted leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from lab.chaos import clocks
from lab.chaos.clocks import Clocks
from lab.chaos.log_disk import LogDisk
from lab.fakes.recorded import Recorded
from lab.running.server import Workspace
from lab.running.workspace import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable


class Clocked(Recorded):
    """A server that tells the time with every line."""

    def __init__(self, lab: Workspace) -> None:
        super().__init__(lab, "certificates", "clock", "certificates")

    def command(self) -> list[str]:
        return [
            sys.executable,
            "-uc",
            "import time\nwhile True: print(time.time() - time.monotonic()); time.sleep(0.02)",
        ]

    def is_ready(self) -> bool:
        return self.told != []

    @property
    def told(self) -> list[float]:
        return [float(line) for line in self.log.read_text().splitlines()[:-1]]


def within(seconds: float, holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.mark.skipif(clocks.lacking() is not None, reason=str(clocks.lacking()))
def test_a_servers_wall_clock_steps_while_it_runs_and_its_monotonic_one_does_not() -> None:
    with Workspace() as lab:
        server = Clocked(lab)
        clock = Clocks(lab.directory)
        clock.give(server)
        server.start()
        truth = time.time() - time.monotonic()
        assert abs(server.told[-1] - truth) < 1
        for step in (-6 * 3600, 3 * 3600, 0):
            clock.set(server, step)
            assert within(10, lambda step=step: abs(server.told[-1] - truth - step) < 1)  # type: ignore[misc]
        server.kill()


def test_a_log_disk_is_full_and_empty_again() -> None:
    with LogDisk() as disk, Workspace() as lab:
        if disk.lacking:
            pytest.skip(disk.lacking)
        server = Clocked(lab)
        disk.take(server)
        server.log.write_text("before\n")
        disk.fill()
        with pytest.raises(OSError, match="No space left"):
            server.log.write_bytes(bytes(100_000))
        disk.clear()
        server.log.write_bytes(bytes(100_000))


def test_an_interrupt_while_servers_are_broken_leaves_nothing_behind(tmp_path_factory: pytest.TempPathFactory) -> None:
    temporary = tmp_path_factory.mktemp("c")  # short, for the path of Prosody's socket
    run = subprocess.Popen(
        [*("env", "--default-signal=INT", sys.executable), "-m", "lab.chaos", "--seed", "1", "--only", "haproxy slow"],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert within(75, lambda: any(map(_is_stopped, _children(run.pid))))
        servers = _children(run.pid)
        run.send_signal(signal.SIGINT)
        output, _ = run.communicate(timeout=40)
    finally:
        run.kill()
    assert output.endswith("Stopped; nothing is left behind.\n")
    assert run.returncode == 130
    assert psutil.wait_procs(servers, timeout=10)[1] == []
    assert list(temporary.iterdir()) == []
    assert str(temporary) not in Path("/proc/mounts").read_text()


def _children(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def _is_stopped(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.status() == psutil.STATUS_STOPPED
    return False
