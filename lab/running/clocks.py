"""Gives single servers a wall clock that can be set while they run, by clock.c; the machine's clock stays as it is."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from lab.running.workspace import LabError

if TYPE_CHECKING:
    from lab.running.server import Server

_SOURCE = Path(__file__).with_name("clock.c")
COMPILER = "cc"


class Clocks:
    """One clock for each server that is given one.

    Args:
        directory: where the library and the clocks' files go.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory / "clocks"
        self._directory.mkdir()
        self._library = self._directory / "clock.so"
        command = [COMPILER, "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o", str(self._library), str(_SOURCE)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            raise LabError(f"{_SOURCE.name} does not compile: {done.stderr.strip()}")

    def give(self, server: Server) -> None:
        """Let a server that does not run yet go by a clock of its own."""
        self.set(server, 0)
        server.variables |= {"LD_PRELOAD": str(self._library), "LAB_CLOCK": str(self._file(server))}

    def set(self, server: Server, seconds: int) -> None:
        """Set a server's clock this far from the truth."""
        with self._file(server).open("r+b" if self._file(server).exists() else "xb", buffering=0) as file:
            file.write(seconds.to_bytes(8, "little", signed=True))

    def _file(self, server: Server) -> Path:
        return self._directory / server.name


def lacking() -> str | None:
    """Say why no clock can be made here; None if one can."""
    if shutil.which(COMPILER) is None:
        return f"there is no C compiler ({COMPILER}) to make a clock with; on Debian: apt-get install gcc libc6-dev"
    return None
