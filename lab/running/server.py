"""Runs servers: a command, a readiness check and a log file each, and a workspace that ends them all.

It knows no server in particular: `lab.servers` defines them and `lab.stack` wires them. mirakuru handles the processes.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import mirakuru
from mirakuru.base import cleanup_subprocesses
from mirakuru.exceptions import ProcessFinishedWithError, TimeoutExpired

from lab.running.interrupts import INTERRUPTS
from lab.running.workspace import ROOT, LabError, LabFolder

if TYPE_CHECKING:
    from http import HTTPStatus
    from pathlib import Path

# mirakuru's last resort at exit kills every process whose mark *contains* our pid as text: another lab's servers, with
# bad luck. The workspace's end and the kernel's parent-death signal do that job here.
atexit.unregister(cleanup_subprocesses)


@dataclass(frozen=True)
class ScrapeTarget:
    """How Prometheus scrapes a server: in which job, under which node name, at which port of which address."""

    job: str
    instance: str
    port: int
    host: str = "127.0.0.1"


class Server(ABC):
    """One server of the lab. A subclass says what to run and when it is ready; it reserves its ports in `__init__`.

    Every method blocks. Servers are started from the main thread, because the kernel ends a server with the thread
    that started it.

    Attributes:
        name: unique within the lab; the name of its log file and of its directory.
        ready_after: seconds its last start took.
        target: how Prometheus scrapes it, None if it does not.
        variables: environment variables that win over its own at its next start.
    """

    patience = 60.0  # seconds to get ready, and to end before it is killed
    target: ScrapeTarget | None = None
    stop_signal = signal.SIGTERM  # how it is asked to end

    def __init__(self, lab: Workspace, name: str) -> None:
        self.lab = lab
        self.name = name
        self.ready_after = 0.0
        self.variables: dict[str, str] = {}
        self._executor: mirakuru.SimpleExecutor | None = None

    @property
    @abstractmethod
    def address(self) -> str:
        """Where to reach it, for a person to read."""

    @abstractmethod
    def command(self) -> list[str]:
        """Return the program and its arguments."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Tell whether the server does its work now; asked again and again while it starts."""

    def prepare(self) -> None:
        """Write what the server reads when it starts; called before each start."""
        return

    def environment(self) -> dict[str, str]:
        """Return the variables the server gets beside our own."""
        return {}

    @property
    def directory(self) -> Path:
        """The server's own directory, kept between its starts."""
        path = self.lab.directory / self.name
        path.mkdir(exist_ok=True)
        return path

    @property
    def log(self) -> Path:
        """The file with everything the server has printed."""
        return self.lab.directory / f"{self.name}.log"

    @property
    def running(self) -> bool:
        """Whether its process lives (a frozen one does)."""
        return self._executor is not None and self._executor.running()

    @property
    def crashed(self) -> bool:
        """Whether it ended by itself since it was started."""
        return self._executor is not None and not self._executor.running()

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        assert self._executor is not None, f"{self.name} is not started"
        assert self._executor.process is not None
        return self._executor.process.pid

    def start(self) -> None:
        """Start it and wait until it is ready.

        Raises:
            LabError: it is not installed, it ended, or it was not ready in time.
        """
        assert threading.current_thread() is threading.main_thread()
        assert self._executor is None, f"{self.name} is started already"
        twins = [one for one in self.lab.servers if one is not self and one.name == self.name]
        assert not any(one._executor for one in twins), f"{self.name}: two servers of this name would share a folder"  # noqa: SLF001 - of its own kind
        self.prepare()
        command = self.command()
        if shutil.which(command[0]) is None:
            raise LabError(f"{self.name}: {command[0]} is not installed; `make demo` says how to install it")
        began = time.monotonic()
        with INTERRUPTS.held(), self.log.open("ab") as log:
            self._executor = mirakuru.SimpleExecutor(
                [*ending_with_us(), *command],
                cwd=str(ROOT),
                timeout=self.patience,
                sleep=0.05,
                stop_signal=self.stop_signal,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                envvars=self.environment() | self.variables,
            )
            self._executor.start()
            if self not in self.lab.servers:
                self.lab.servers.append(self)
        try:
            self._executor.wait_for(lambda: self.crashed or self.is_ready())
        except TimeoutExpired as error:
            self._executor = None
            raise LabError(f"{self.name} was not ready after {self.patience:g} s{self.last_words()}") from error
        if self.crashed:
            obituary = self.obituary()
            self.kill()
            raise LabError(obituary)
        self.ready_after = time.monotonic() - began

    def stop(self) -> None:
        """End it in its orderly way; nothing to do if it was not started.

        Raises:
            LabError: it had ended by itself, or did so with an error.
        """
        with INTERRUPTS.held():
            executor, self._executor = self._executor, None
            if executor is None or executor.process is None:
                return
            with suppress(ProcessLookupError):
                os.killpg(executor.process.pid, signal.SIGCONT)
            try:
                executor.stop()
            except ProcessFinishedWithError as error:
                raise LabError(f"{self.name} ended with exit code {error.exit_code}{self.last_words()}") from error

    def kill(self) -> None:
        """End it at once, as a power cut would (SIGKILL)."""
        with INTERRUPTS.held():
            executor, self._executor = self._executor, None
            if executor is not None:
                executor.kill()

    def restart(self) -> None:
        """Stop and start it again, on the same ports and the same data."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Let it hang, with all its processes: its sockets stay, it answers nothing (SIGSTOP)."""
        os.killpg(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on after `freeze`."""
        os.killpg(self.pid, signal.SIGCONT)

    def obituary(self) -> str:
        """Say in one line that it ended by itself, followed by its last log lines."""
        assert self._executor is not None
        assert self._executor.process is not None
        return f"{self.name} ended by itself with exit code {self._executor.process.returncode}{self.last_words()}"

    def last_words(self, lines: int = 8) -> str:
        """Return its last log lines, introduced to follow what is said of the server."""
        words = self.log.read_text(errors="replace").splitlines()[-lines:]
        return (
            "; its last log lines:\n" + "\n".join(f"    {line}" for line in words) if words else "; it logged nothing"
        )

    def reports(self) -> list[dict[str, Any]]:
        """Return the JSON objects that it has logged so far, one a line, but for a line that is still being written."""
        whole = self.log.read_text(encoding="utf-8").split("\n")[:-1]
        return [json.loads(line) for line in whole if line.startswith("{")]

    def _send(self, number: signal.Signals) -> None:
        assert self._executor is not None, f"{self.name} is not started"
        assert self._executor.process is not None
        self._executor.process.send_signal(number)


class Workspace(LabFolder):
    """A place with servers in it. It takes everything away again that they leave on the machine.

    Enter it before a server starts. When it is left (after an error, Ctrl-C or SIGTERM too) every server is stopped,
    last started first, and the directory is removed. If this very process is killed, the kernel kills the servers.

    Attributes:
        servers: every server that was started, in that order, whether or not it still runs.
    """

    def __init__(self) -> None:
        super().__init__()
        self.servers: list[Server] = []

    def __enter__(self) -> Self:
        INTERRUPTS.__enter__()
        with INTERRUPTS.held():
            self.open()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        failures = []
        try:
            with INTERRUPTS.held():
                if isinstance(error, Exception) and not isinstance(error, LabError):
                    for server in self.servers:  # the logs go with the directory
                        error.add_note(f"{server.name}{server.last_words()}")
                for server in reversed(self.servers):
                    try:
                        server.stop()
                    except LabError as failure:
                        failures.append(str(failure))
                self.close()
        finally:
            INTERRUPTS.__exit__()
        if failures and error is None:
            raise LabError("\n".join(failures))

    def crashed(self) -> list[str]:
        """Say in one line each which servers ended by themselves."""
        return [server.obituary() for server in self.servers if server.crashed]


class WebServer(Server):
    """A server that has one port for people and programs, and speaks HTTP there."""

    def __init__(self, lab: Workspace, name: str) -> None:
        super().__init__(lab, name)
        self.port = lab.ports.reserve()

    @property
    def url(self) -> str:
        """Where its pages begin."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def address(self) -> str:
        """Where its pages begin."""
        return self.url


def http_answers(url: str, status: HTTPStatus | None = None) -> bool:
    """Tell whether an HTTP server answers at this address: with this status, or with any."""
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:  # noqa: S310 - addresses of our own servers
            return status is None or answer.status == status
    except urllib.error.HTTPError as error:
        return status is None or error.code == status
    except OSError:
        return False


def tcp_accepts(port: int) -> bool:
    """Tell whether something accepts connections on this port of 127.0.0.1."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def ending_with_us() -> list[str]:
    """Return the command prefix that makes the kernel kill the server when our process dies, however it dies."""
    return ["setpriv", "--pdeathsig", "KILL", "--"]
