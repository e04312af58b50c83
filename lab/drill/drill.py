"""What a drill is: an alert, a fault that really causes it, and what may fire beside it. The tables have them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from lab.stack import Lab


@dataclass(frozen=True)
class Drill:
    """One alert, and the fault that causes it.

    Attributes:
        alert: its name.
        fault: what the drill does, in words.
        breaking: does it on entering, undoes it on leaving.
        labels: labels that the alert must have.
        value: a threshold that one machine can reach, where it cannot reach the specification's.
        minimum: the same for the threshold's minimum.
        beside: other alerts that may fire, each with the reason.
        silenced: those of them that Alertmanager must silence.
        also: receivers that are notified beside that of its severity.
        untold: nobody can be told while it lasts; the other server of a pair would tell.
        by_silence: the alert always fires; what counts is that it stops arriving.
        patience: seconds for it to become pending, and again to fire, once its cause is there.
    """

    alert: str
    fault: str
    breaking: Callable[[Lab], AbstractContextManager[None]]
    labels: Mapping[str, str] = field(default_factory=dict)
    value: float | None = None
    minimum: float | None = None
    beside: Mapping[str, str] = field(default_factory=dict)
    silenced: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    by_silence: bool = False
    untold: bool = False
    patience: float = 90.0
