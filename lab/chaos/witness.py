"""Asks Prometheus twice a second what it says, and looks at our processes; writes everything down for the judge."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Self

from lab.chaos import vitals
from lab.chaos.judge import Look
from lab.chaos.ledger import JOBS, Ledger
from lab.chaos.processes import Holdings
from lab.running.workspace import LabError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lab.chaos.mischief import Stage
    from lab.running.server import Server

EVERY = 0.5  # seconds
_EVERYTHING = f'{{job=~"{"|".join(JOBS)}"}}'
_BOOKS_EVERY = 2.0  # seconds; the scrape interval


class Witness(threading.Thread):
    """Runs from entering to leaving.

    Args:
        stage: what it watches.
        ours: the servers whose processes are ours.
        began: when the lab was started, in seconds since the epoch.

    Attributes:
        looks: in order of time.
        busiest: the highest load average of a minute.
        blind: the longest time in seconds between two looks.
    """

    def __init__(self, stage: Stage, ours: Sequence[Server], began: float) -> None:
        super().__init__(name="witness")
        self.looks: list[Look] = []
        self.ledger = Ledger(began)
        self.holdings = Holdings()
        self.busiest = 0.0
        self.blind = 0.0
        self._stage = stage
        self._ours = ours
        self._over = threading.Event()
        self._failure: LabError | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()

    def check(self) -> None:
        """Raise LabError if Prometheus could not be asked."""
        if self._failure:
            raise self._failure

    def run(self) -> None:
        """Look until the end."""
        booked = 0.0
        try:
            while not self._over.wait(EVERY):
                self._look()
                if time.time() - booked >= _BOOKS_EVERY:
                    booked = time.time()
                    self._book(booked)
        except LabError as error:
            self._failure = error

    def _look(self) -> None:
        states = vitals.read(self._stage.lab.prometheus.query(vitals.QUESTION))
        now = time.time()
        if self.looks:
            self.blind = max(self.blind, now - self.looks[-1].at)
        self.looks.append(Look(now, states))

    def _book(self, now: float) -> None:
        samples = self._stage.lab.prometheus.query(_EVERYTHING)
        self.ledger.take(now, samples, self._stage.started)
        self.busiest = max(self.busiest, os.getloadavg()[0])
        for server in self._ours:
            self.holdings.look(now, server)
