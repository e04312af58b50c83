"""A disk for logs only, which can be full and empty again: a tmpfs, so it needs root."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Self

from lab.running.workspace import LabError

if TYPE_CHECKING:
    from lab.running.server import Server

_SIZE = "256m"


class LogDisk:
    """Entered before the lab and left after it, as the servers hold files on it.

    Attributes:
        folder: where it is.
        lacking: why there is none, in words; None if there is one.
    """

    def __init__(self) -> None:
        self.folder = Path()
        self.lacking: str | None = "it was not entered"

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="commeazy-log-disk-"))
        try:
            self._mount("-t", "tmpfs", "-o", f"size={_SIZE},mode=0755", "tmpfs")
            self.lacking = None
        except LabError as error:
            self.lacking = f"a disk to fill takes root ({error})"
        return self

    def __exit__(self, *_: object) -> None:
        if self.lacking is None:
            subprocess.run(["umount", "--lazy", str(self.folder)], check=True)
        shutil.rmtree(self.folder)

    def take(self, server: Server) -> None:
        """Let a server that does not run yet log here."""
        if self.lacking is None:
            server.log.symlink_to(self.folder / server.log.name)

    def take_folder(self, folder: Path) -> None:
        """Put a folder that is not there yet on this disk."""
        if self.lacking is None:
            place = self.folder / folder.parent.name
            place.mkdir()
            folder.symlink_to(place)

    def fill(self) -> None:
        """Leave no page free; what a file's last page still holds can be written."""
        disk = os.statvfs(self.folder)
        self._mount("-o", f"remount,size={max(1, disk.f_blocks - disk.f_bfree) * disk.f_frsize}")

    def clear(self) -> None:
        """Give the room back."""
        self._mount("-o", f"remount,size={_SIZE}")

    def _mount(self, *arguments: str) -> None:
        done = subprocess.run(["mount", *arguments, str(self.folder)], check=False, capture_output=True, text=True)
        if done.returncode:
            raise LabError(f"mount: {done.stderr.strip()}")
