"""The turnserver process as the system shows it: which one it is, its state and consumption. It sends no signal."""

from __future__ import annotations

import math
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator

    from exporters.coturn.config import Configuration

_NAME = "turnserver"
_DEFAULT_CONFIG = "/etc/turnserver.conf"
_FIRST_FILES = 64  # coturn opens its log before any socket, and mostly again under the number it had
_SEARCH_EVERY = 15.0  # seconds between two looks at all files: on a full disk it opens another, behind its sockets


@dataclass(frozen=True)
class ProcessState:
    """One look at the process.

    Args:
        stopped: it is frozen (SIGSTOP, a debugger) and answers nobody.
        open_fds: None when the exporter may not see them.
        max_fds: the soft limit; None as above.
    """

    stopped: bool
    start_time: float
    cpu_seconds: float
    resident_bytes: int
    open_fds: int | None
    max_fds: int | None


class Turnserver:
    """Finds the process of one turnserver.conf, and finds it again after a restart.

    Args:
        config: whose process: the one in its pidfile, or the one started with this file.
    """

    def __init__(self, config: Configuration) -> None:
        self._config = config
        self._process: psutil.Process | None = None
        self._log_number = 0
        self._searched = -math.inf

    @property
    def identity(self) -> tuple[int, float] | None:
        """Process id and start time of the running process; None when there is none on this machine."""
        if self._process is None or not _alive(self._process):
            self._process = self._find()
        return (self._process.pid, self._process.create_time()) if self._process else None

    @property
    def uid(self) -> int | None:
        """The user it runs as."""
        with suppress(psutil.Error):
            return self._process.uids().effective if self._process else None
        return None

    def look(self) -> ProcessState | None:
        """The process as it is now; None when there is none on this machine."""
        if self.identity is None or self._process is None:
            return None
        process = self._process
        try:
            with process.oneshot():
                cpu = process.cpu_times()
                return ProcessState(
                    stopped=process.status() in {psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP},
                    start_time=process.create_time(),
                    cpu_seconds=cpu.user + cpu.system,
                    resident_bytes=process.memory_info().rss,
                    open_fds=_open_fds(process.pid),
                    max_fds=_max_fds(process),
                )
        except psutil.Error:
            return None

    def log_file(self, base: Path | None) -> Path | None:
        """The log file it holds open, wherever that has gone; None when it holds none, or we may not look.

        Args:
            base: the configured file; coturn silently logs elsewhere, under its own name, when it cannot write there.
        """
        if (identity := self.identity) is None:
            return None
        base = base or Path("turn.log")
        stems = ("turn", base.stem)
        marks = {".log", base.suffix} - {""}  # without one it is userdb's file, turndb
        for number in self._likely_files(identity[0]):
            with suppress(OSError):
                link = f"/proc/{identity[0]}/fd/{number}"
                target = os.readlink(link)  # noqa: PTH115 - done every second
                name = target.rpartition("/")[2]
                is_log = name == base.name or (name.startswith(stems) and any(mark in name for mark in marks))
                if is_log and target.startswith("/"):
                    self._log_number = number
                    return _as_we_see_it(target, link, identity[0])
        return None

    def _likely_files(self, pid: int) -> Iterator[int]:
        """The numbers of open files, the log's last one first; all of them only now and then."""
        yield self._log_number
        yield from range(_FIRST_FILES)
        if time.monotonic() - self._searched >= _SEARCH_EVERY:
            self._searched = time.monotonic()
            with suppress(OSError):
                yield from map(int, os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - as fast as it gets

    def _find(self) -> psutil.Process | None:
        with suppress(OSError, ValueError, psutil.Error):
            process = psutil.Process(int(Path(self._config.text("pidfile")).read_text()))
            if process.name() == _NAME and _alive(process):
                return process
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                if process.name() == _NAME and _alive(process) and self._is_ours(process.cmdline()):
                    return process
        return None

    def _is_ours(self, command: list[str]) -> bool:
        given = command[command.index("-c") + 1] if "-c" in command[:-1] else _DEFAULT_CONFIG
        return Path(given).resolve() == self._config.path.resolve()


def _as_we_see_it(target: str, link: str, pid: int) -> Path:
    """A file of the process under a path of ours: with PrivateTmp=, as in Debian's unit, its /var/tmp is another."""
    with suppress(OSError):
        if os.path.samestat(os.stat(link), os.stat(target)):  # noqa: PTH116 - done every second
            return Path(target)
    with suppress(OSError):  # in a chroot, too: then the kernel tells both from outside it
        target = target.removeprefix(os.readlink(f"/proc/{pid}/root").rstrip("/"))  # noqa: PTH115 - as above
    return Path(f"/proc/{pid}/root{target}")


def _alive(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _open_fds(pid: int) -> int | None:
    try:
        # Linux 6.2 and newer say the number at once; before, it takes a listing of all.
        return os.stat(f"/proc/{pid}/fd").st_size or len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH116, PTH208 - as fast as it gets
    except OSError:
        return None


def _max_fds(process: psutil.Process) -> int | None:
    with suppress(psutil.Error, OSError):
        return int(process.rlimit(psutil.RLIMIT_NOFILE)[0])
    return None
