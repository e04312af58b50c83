"""A disk for logs only, which can be full and empty again: a tmpfs, so it needs root."""

from __future__ import annotations

import errno
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Self

from lab.running.workspace import LabError

if TYPE_CHECKING:
    from lab.running.server import Server

_SIZE = "64m"
_ZEROS = bytes(1 << 16)


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
            self._mount()
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
        with self._filler.open("wb", buffering=0) as filler:
            try:
                while filler.write(_ZEROS):
                    pass
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise

    def clear(self) -> None:
        """Give the room back."""
        self._filler.unlink()

    @property
    def _filler(self) -> Path:
        return self.folder / "filler"

    def _mount(self) -> None:
        command = ["mount", "-t", "tmpfs", "-o", f"size={_SIZE},mode=0755", "tmpfs", str(self.folder)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            raise LabError(f"mount: {done.stderr.strip()}")
