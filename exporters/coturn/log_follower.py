"""Follows coturn's log through midnight files, rename, truncation, SIGHUP and restart. It does not parse its lines."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

from toolkit.background import running
from toolkit.files import opened

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from exporters.coturn.config import LogPlace

_SLICE = 1 << 16  # bytes read before other tasks may run
_POLL = 1.0  # seconds; coturn flushes every line, and a scrape catches up by itself
_REPLAY = 64 << 20  # bytes read back at most to find where the running coturn began
_START = b"Version Coturn-"
_SIGNATURE = 64  # first bytes of a file; they change when it is truncated and written again
_LONGEST = 1 << 16  # bytes of a line that are kept; coturn's own end at 1,024
_COMPRESSED = {".gz", ".xz", ".zst", ".bz2"}
_DATE = "_[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]"
_DEFAULT_FOLDERS = ("/var/log/turnserver", "/var/log", "/var/tmp", "/tmp")  # noqa: S108 - coturn's own list


class LogFollower:
    """Feeds every complete line of the log, once, in order.

    It begins where the running coturn began, if that is within the last 64 MiB of its log, else at the log's end.

    Args:
        place: where coturn logs by its configuration.
        held_open: returns the log that the process really writes to, None if that is not known.
        feed: takes one line.

    Attributes:
        path: the file followed now, None while there is none.
        caught_up: whether everything written so far has been fed; before that the counts are incomplete.
    """

    def __init__(self, place: LogPlace, held_open: Callable[[], Path | None], feed: Callable[[bytes], None]) -> None:
        self._place = place
        self._held_open = held_open
        self._feed = feed
        self._file: IO[bytes] | None = None
        self._signature = b""
        self._rest = b""
        self._queue: list[Path] = []
        self._shut_out = False  # there is a newer file that this process may not read
        self.path: Path | None = None
        self.caught_up = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Follow the log inside the context."""
        self._begin()
        try:
            async with running(self._follow):
                yield
        finally:
            self.close()

    async def catch_up(self) -> bool:
        """Feed what was written since; False while there is no log to read, or its past is still being read."""
        if self.caught_up:
            await self._drain()
        return self.reads

    @property
    def reads(self) -> bool:
        """Whether there is a log, and all that was in it at the last look has been fed."""
        return self.caught_up and self.path is not None and not self._shut_out

    def close(self) -> None:
        """Close the file."""
        if self._file:
            self._file.close()
            self._file = None

    async def _follow(self) -> None:
        while True:
            await self._drain()
            self.caught_up = True
            await asyncio.sleep(_POLL)

    async def _drain(self) -> None:
        try:
            while self._step():  # noqa: ASYNC110 - it waits for nothing, it lets others have their turn
                await asyncio.sleep(0)
        except OSError:  # the disk, or a network file system; the file is opened again at the next look
            self.close()
            self.path = None

    def _step(self) -> bool:
        """Read one slice, or go to the next file; False when there is nothing to read anywhere."""
        if self._file and self._read_slice():
            return True
        # Only once the open file is read to its end: coturn closes a file before it opens the next.
        target = self._queue.pop(0) if self._queue else self._target()
        if target is None or self._is_open(target):
            self._shut_out = False
            return False
        # What was written between the last read and the end of that file must not be lost.
        if self._file and self._read_slice():
            return True
        self._shut_out = not self._open(target)
        return not self._shut_out

    def _read_slice(self) -> bool:
        assert self._file
        if self._truncated():
            self._file.seek(0)
            self._rest = b""
        data = self._file.read(_SLICE)
        if not data:
            return False
        if len(self._signature) < _SIGNATURE:
            self._signature = os.pread(self._file.fileno(), _SIGNATURE, 0)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._feed(line)
        self._rest = self._rest[:_LONGEST]
        return True

    def _truncated(self) -> bool:
        assert self._file
        start = os.pread(self._file.fileno(), len(self._signature), 0)
        if start == self._signature and os.fstat(self._file.fileno()).st_size >= self._file.tell():
            return False
        self._signature = b""
        return True

    def _is_open(self, path: Path) -> bool:
        if self._file is None:
            return False
        with suppress(OSError):
            return os.path.samestat(path.stat(), os.fstat(self._file.fileno()))
        return True  # renamed, and its successor not yet there: stay with what is open

    def _open(self, path: Path, offset: int = 0) -> bool:
        try:
            file = opened(path, buffering=0)
        except OSError:
            return False
        self.close()
        self._file, self.path, self._rest = file, path, b""
        self._signature = os.pread(file.fileno(), _SIGNATURE, 0)
        file.seek(offset)
        return True

    def _target(self) -> Path | None:
        if (held := self._held_open()) is not None:
            return held
        return next(reversed(self._files()), None)

    def _files(self) -> Sequence[Path]:
        """The log's files by the configuration, oldest first; none where we may not look."""
        with suppress(OSError):
            return self._found()
        return []

    def _found(self) -> Sequence[Path]:
        base, dated = self._place.base, self._place.dated
        if base is None:
            found = [path for folder in _DEFAULT_FOLDERS for path in Path(folder).glob("turn*.log")]
            return sorted(found, key=_age)
        if not dated:
            found = [path for path in base.parent.glob(f"{base.name}[.-]*") if path.suffix not in _COMPRESSED]
            return [*sorted(found, key=_age), *base.parent.glob(base.name)]
        stem = base.stem if base.suffix else base.name
        joint = _DATE.removeprefix("_") if stem.endswith(("_", "-")) else _DATE
        return sorted(base.parent.glob(f"{stem}{joint}{base.suffix or '.log'}"))  # by name, as coturn dates them

    def _begin(self) -> None:
        """Go to where the running coturn began; to the log's end if that is too far back."""
        held = self._held_open()
        files = list(self._files())
        if held is not None:  # the last one: nothing is written yet to what logrotate has made beside it
            files = files[: files.index(held) + 1] if held in files else [held]
        budget = _REPLAY
        for index in range(len(files) - 1, -1, -1):
            with suppress(OSError):
                size = files[index].stat().st_size
                if (start := _last_start(files[index], budget)) is not None:
                    self._queue = files[index + 1 :]
                    self._open(files[index], start)
                    return
                budget -= size
            if budget <= 0:
                break
        if files and budget < _REPLAY:
            with suppress(OSError):
                self._open(files[-1], files[-1].stat().st_size)


def _age(path: Path) -> float:
    return path.stat().st_mtime


def _last_start(path: Path, budget: int) -> int | None:
    """Where the last line with coturn's banner begins in the last `budget` bytes of a file."""
    with opened(path, buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        floor = max(0, end - budget)
        overlap = b""
        while end > floor:
            start = max(floor, end - _SLICE)
            file.seek(start)
            block = file.read(end - start) + overlap
            if (at := block.rfind(_START)) >= 0:
                return start + block.rfind(b"\n", 0, at) + 1
            overlap = block[: len(_START)]
            end = start
    return None
