"""Finds the turnserver process in /proc and reads its state and resource use. It sends no signal."""

from __future__ import annotations

import math
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from exporters.coturn.options import config_file

if TYPE_CHECKING:
    from collections.abc import Iterator

_NAMES = {"turnserver", "coturn"}  # Debian has a link of the second name
_DEFAULT_CONFIG = "turnserver.conf"
_SEARCHED = (  # for a file without a leading slash, in this order
    *("", "turnserver/", "coturn/", "etc/", "etc/turnserver/", "etc/coturn/"),
    *("../etc/", "../etc/turnserver/", "../etc/coturn/", "/etc/", "/etc/turnserver/", "/etc/coturn/"),
    *("/usr/local/etc/", "/usr/local/etc/turnserver/", "/usr/local/etc/coturn/"),
)
_FIRST_FILES = 64  # coturn opens its log before any socket, and mostly reopens it under the same number
_SEARCH_EVERY = 15.0  # seconds between two looks at all files: on a full disk coturn opens another log, later


@dataclass(frozen=True)
class ProcessState:
    """The process at one moment.

    Args:
        stopped: whether it is frozen (SIGSTOP, a debugger) and answers nothing.
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
    """Finds the turnserver that reads one turnserver.conf, and finds it again after a restart.

    Args:
        config: path of the file.

    As long as no turnserver was seen to read it, the only one that reads no file (`-n`) or an unknown file is used.
    After that such a one is another coturn, which does not take the place of ours when ours ends.
    """

    def __init__(self, config: Path) -> None:
        self._config = config
        self._process: psutil.Process | None = None
        self._known_by_its_file = False
        self._log_number = 0
        self._searched = -math.inf

    @property
    def identity(self) -> tuple[int, float] | None:
        """Process id and start time of the running process; None when there is none on this machine."""
        if self._process is None or not _alive(self._process):
            self._process = self._find()
        return (self._process.pid, self._process.create_time()) if self._process else None

    def search_again(self) -> None:
        """Forget which process it was: the operator may have started another one in another way."""
        self._process, self._known_by_its_file = None, False

    @property
    def command(self) -> tuple[str, ...]:
        """The arguments of the running process, without its name; none if there is no process."""
        with suppress(psutil.Error):
            return tuple(self._process.cmdline()[1:]) if self._process else ()
        return ()

    @property
    def folder(self) -> Path | None:
        """The directory it runs in; None if that is not known."""
        return _folder(self._process) if self._process else None

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
        """The log file it holds open, in any directory; None when it holds none, or the exporter may not look.

        Args:
            base: the configured file; when coturn cannot write there, it logs elsewhere under a name of its own, and
                does not say so.
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
        """The numbers of open files, the one the log had last comes first; all of them only every 15 s."""
        yield self._log_number
        yield from range(_FIRST_FILES)
        if time.monotonic() - self._searched >= _SEARCH_EVERY:
            self._searched = time.monotonic()
            with suppress(OSError):
                yield from map(int, os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - as fast as it gets

    def _find(self) -> psutil.Process | None:
        unknown = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                if process.name() in _NAMES and _alive(process):
                    reads = self._is_read_by(process)
                    if reads:
                        self._known_by_its_file = True
                        return process
                    if reads is None:
                        unknown.append(process)
        return unknown[0] if len(unknown) == 1 and not self._known_by_its_file else None

    def _is_read_by(self, process: psutil.Process) -> bool | None:
        """Whether this turnserver reads the configured file; None if it reads none, or the file is unknown."""
        command = process.cmdline()
        if not command:
            return False  # it is about to end: the kernel has taken its memory back already
        given = config_file(command[1:])
        if given is None:
            return None
        given = given or _DEFAULT_CONFIG
        folder = _folder(process)
        for place in _SEARCHED if not given.startswith("/") else ("",):
            path = given if given.startswith("/") else place + given
            if not path.startswith("/"):
                if folder is None:
                    continue
                path = os.path.join(folder, path)  # noqa: PTH118 - "/" in front of it makes no Path of another root
            for seen in (f"/proc/{process.pid}/root{path}", path):  # its root can be a container's or a chroot
                with suppress(OSError):
                    return os.path.samefile(seen, self._config)  # noqa: PTH121 - as above
        return None


def _folder(process: psutil.Process) -> Path | None:
    with suppress(psutil.Error, OSError):
        return Path(process.cwd())
    return None


def _as_we_see_it(target: str, link: str, pid: int) -> Path:
    """Return the exporter's path to a file of the process: with PrivateTmp=, as in Debian's unit, /var/tmp differs."""
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
