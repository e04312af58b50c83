"""What our processes hold: memory, descriptors, threads; and whether one of them grows. Reads /proc only."""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from lab.running.server import Server

WARM = 20.0  # seconds after which a process has what it needs
SETTLED = 60.0  # seconds that a life is watched at least before it is judged
MEMORY = 12e6, 0.25  # bytes and share by which resident memory may grow
DESCRIPTORS = 10
THREADS = 4


@dataclass(frozen=True)
class Holding:
    """What one process held at one moment."""

    at: float
    memory: int
    descriptors: int
    threads: int


@dataclass(frozen=True)
class Life:
    """One process, from when it was warm to the last look."""

    server: str
    warm: Holding
    last: Holding

    @property
    def seconds(self) -> float:
        """How long it was watched."""
        return self.last.at - self.warm.at

    @property
    def leaks(self) -> list[str]:
        """What it holds too much of, in words."""
        grown = self.last.memory - self.warm.memory
        wrong = []
        if grown > max(MEMORY[0], MEMORY[1] * self.warm.memory):
            wrong.append(f"{self.server}: memory grew by {grown / 1e6:.1f} MB in {self.seconds:.0f} s")
        if self.last.descriptors > self.warm.descriptors + DESCRIPTORS:
            wrong.append(f"{self.server}: {self.warm.descriptors} descriptors became {self.last.descriptors}")
        if self.last.threads > self.warm.threads + THREADS:
            wrong.append(f"{self.server}: {self.warm.threads} threads became {self.last.threads}")
        return wrong


class Holdings:
    """Every look at every process so far."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, int], list[Holding]] = defaultdict(list)

    def look(self, at: float, server: Server) -> None:
        """Look at a server, if it runs now."""
        with suppress(AssertionError, psutil.Error):  # it is being ended or started
            process = psutil.Process(server.pid)
            with process.oneshot():
                held = Holding(at, process.memory_info().rss, process.num_fds(), process.num_threads())
            self._seen[server.name, process.pid].append(held)

    def lives(self) -> list[Life]:
        """Return the longest life of each server, of those long enough to be judged."""
        longest: dict[str, Life] = {}
        for (server, _), seen in self._seen.items():
            warm = [held for held in seen if held.at >= seen[0].at + WARM]
            if warm and (life := Life(server, warm[0], warm[-1])).seconds >= SETTLED:
                longest[server] = max(life, longest.get(server, life), key=lambda one: one.seconds)
        return sorted(longest.values(), key=lambda life: life.server)
