"""Turns Ctrl-C, SIGTERM and SIGHUP into a KeyboardInterrupt that never falls in the middle of a step that must finish.

It stops nothing itself: the exception unwinds the lab's context managers, and those do.
"""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """The process's interrupt handling; entered once per open lab, from the main thread only."""

    def __init__(self) -> None:
        self._users = 0
        self._holders = 0
        self._pending = False
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        self._users += 1
        if self._users == 1:
            for number in _SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:  # nohup and `&` mean what they say
                    self._previous[number] = signal.signal(number, self._received)
        return self

    def __exit__(self, *_: object) -> None:
        self._users -= 1
        if self._users == 0:
            while self._previous:
                signal.signal(*self._previous.popitem())

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let the block finish first; an interrupt that came meanwhile is raised at its end."""
        self._holders += 1
        try:
            yield
        finally:
            self._holders -= 1
            if self._pending and self._holders == 0:
                self._pending = False
                raise KeyboardInterrupt

    def _received(self, _number: int, _frame: FrameType | None) -> None:
        if self._holders:
            self._pending = True
        else:
            raise KeyboardInterrupt


INTERRUPTS = Interrupts()
