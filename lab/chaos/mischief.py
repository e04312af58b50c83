"""How each kind of fault is done and undone; entering breaks, leaving mends. What must be seen of it is the table's.

A fault that is left by an exception mends only what would hinder the lab's end.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from lab.chaos.table import Fault, Kind
from lab.fakes.providers import Mood
from lab.running.workspace import LabError

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from lab.chaos.clocks import Clocks
    from lab.chaos.log_disk import LogDisk
    from lab.running.server import Server
    from lab.stack import Lab

STOPPED_SHARE = 0.8  # of the time, while a server is slow
LATE = 12.0  # seconds
_COTURNS_PLACES = ("/var/log", "/var/tmp", "/tmp")  # noqa: S108 - where coturn logs if it must
STEPS = (-6, -3, -1, 1, 3, 6)  # hours


@dataclass
class Stage:
    """What mischief needs.

    Args:
        lab: with everything started.
        disk: for the logs.
        clocks: of the servers that have one; None without a compiler.
        random: decides how slow, and how far a clock steps.

    Attributes:
        started: when each server was started again, by its name: seconds since the epoch.
        disorder: who was told to end and did not do so in good order, and what it said.
    """

    lab: Lab
    disk: LogDisk
    clocks: Clocks | None
    random: random.Random
    started: dict[str, list[float]] = field(default_factory=dict)
    disorder: list[tuple[str, str]] = field(default_factory=list)

    def server(self, name: str) -> Server:
        """Return the server of this name."""
        return next(server for server in self.lab.servers if server.name == name)

    def start(self, server: Server) -> None:
        """Start a server again."""
        self.started.setdefault(server.name, []).append(time.time())
        server.start()

    def break_(self, fault: Fault) -> AbstractContextManager[None]:
        """Return the context in which a fault lasts."""
        if fault.kind is Kind.FULL:
            return _full(self)
        return _KINDS[fault.kind](self, self.server(fault.server))


@contextmanager
def _killed(stage: Stage, server: Server) -> Iterator[None]:
    family = _family(server)
    server.kill()
    for process in family:  # a supervisor's children may outlive it, and hold its ports
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(family, timeout=server.patience)
    yield
    stage.start(server)


@contextmanager
def _stopped(stage: Stage, server: Server) -> Iterator[None]:
    try:
        server.stop()
    except LabError as error:
        stage.disorder.append((f"{server.name} {Kind.STOP}", str(error)))
    yield
    stage.start(server)


@contextmanager
def _frozen(_: Stage, server: Server) -> Iterator[None]:
    _freeze(server)
    try:
        yield
    finally:
        _thaw(server)


@contextmanager
def _slow(stage: Stage, server: Server) -> Iterator[None]:
    """Stopped for most of every moment, as on a machine that has no time for it."""
    period = stage.random.uniform(0.2, 0.8)
    over = threading.Event()

    def stutter() -> None:
        while not over.is_set():
            _freeze(server)
            over.wait(period * STOPPED_SHARE)
            _thaw(server)
            over.wait(period * (1 - STOPPED_SHARE))

    thread = threading.Thread(target=stutter, name=f"slow {server.name}")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def _clock(stage: Stage, server: Server) -> Iterator[None]:
    assert stage.clocks
    stage.clocks.set(server, stage.random.choice(STEPS) * 3600)
    yield
    stage.clocks.set(server, 0)


@contextmanager
def _full(stage: Stage) -> Iterator[None]:
    """No room for logs. For coturn's there is elsewhere, and it stays there until it is started again."""
    coturn = stage.lab.coturn
    strays = f"turn_{coturn.pid}_*"
    stage.disk.fill()
    try:
        yield
        stage.disk.clear()
        with _stopped(stage, coturn):
            pass
    finally:
        for folder in _COTURNS_PLACES:
            for stray in Path(folder).glob(strays):
                stray.unlink()


def _mood(mood: Mood) -> Callable[[Stage, Server], AbstractContextManager[None]]:
    @contextmanager
    def moody(stage: Stage, _: Server) -> Iterator[None]:
        stage.lab.providers.behave(mood)
        yield
        stage.lab.providers.behave(Mood())

    return moody


_KINDS: dict[Kind, Callable[[Stage, Server], AbstractContextManager[None]]] = {
    Kind.KILL: _killed,
    Kind.STOP: _stopped,
    Kind.FREEZE: _frozen,
    Kind.SLOW: _slow,
    Kind.LATE: _mood(Mood(delay=LATE)),
    Kind.UNAVAILABLE: _mood(Mood(unavailable=("apns", "fcm"))),
    Kind.CLOCK: _clock,
}


def _family(server: Server) -> list[psutil.Process]:
    """The server's process and all below it."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(server.pid)
        return [process, *process.children(recursive=True)]
    return []


def _freeze(server: Server) -> None:
    for process in _family(server):
        with suppress(psutil.NoSuchProcess):
            process.suspend()


def _thaw(server: Server) -> None:
    for process in reversed(_family(server)):
        with suppress(psutil.NoSuchProcess):
            process.resume()
