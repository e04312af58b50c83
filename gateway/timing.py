"""When a connection looks whether its peer is alive, and timers that read before they judge. It does no I/O."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Timing:
    """When to check that a connection is alive, in seconds.

    Args:
        idle: silence before a PING while no answer is due; shorter than the idle timeouts of NAT and servers.
        awaiting: silence before a PING while answers are due.
        pong: how long the PING's answer may take; after that the connection is dead.
        patience: time without any answer, PINGs aside, after which a new connection is tried.
    """

    idle: float = 20.0
    awaiting: float = 2.0
    pong: float = 3.0
    patience: float = 5.0


def call_at(when: float, action: Callable[..., None], *arguments: object) -> asyncio.TimerHandle:
    """Call an action at the loop's time `when`, but not before everything that came until then was read.

    A process that was stopped, or had to wait for a core, may find its timers due before it has read what came, and
    would take that for missing. The action must bear being called just after its timer was cancelled.
    """
    loop = asyncio.get_running_loop()
    return loop.call_at(when, loop.call_soon, loop.call_soon, action, *arguments)
