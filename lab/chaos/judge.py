"""The verdict on each fault, from what Prometheus said before, during and after it. Pure: no I/O, no clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lab.chaos.table import GRACE, TWO_SCRAPES, Fault, heals

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lab.chaos.vitals import States


@dataclass(frozen=True)
class Look:
    """What Prometheus said at one moment, in seconds since the epoch."""

    at: float
    states: States


@dataclass
class Episode:
    """One fault as it really was; times in seconds since the epoch.

    Args:
        fault: which.
        began: when the breaking began.
        broke: when all was broken.
        mending: when the mending began.
        mended: when it was done, a server ready again.
    """

    fault: Fault
    began: float
    broke: float = 0.0
    mending: float = 0.0
    mended: float = 0.0

    def concerns(self, statement: str, at: float) -> bool:
        """Whether it is the reason for anything said here at this moment."""
        return self.fault.touches(statement) and self.began <= at <= self.mended + heals(statement)


@dataclass
class Verdict:
    """What is to be said of one fault.

    Args:
        shown: seconds until each statement that had to turn did; those that had not the time to are missing.
        healed: seconds after the mending until each statement was healthy again.
        lies: in words.
    """

    fault: Fault
    shown: dict[str, float] = field(default_factory=dict)
    healed: dict[str, float] = field(default_factory=dict)
    lies: list[str] = field(default_factory=list)


def judge(episode: Episode, looks: Sequence[Look], others: Iterable[Episode]) -> Verdict:
    """Judge one fault.

    Args:
        episode: the fault.
        looks: all of the run, in order of time.
        others: the other faults of the run.
    """
    verdict = Verdict(episode.fault)
    near = [look for look in looks if episode.broke <= look.at <= episode.mending]
    others = [other for other in others if other is not episode]
    for statement in episode.fault.must:
        hidden = any(
            other.fault.touches(statement)
            and other.began <= episode.mending
            and other.mended + heals(statement) >= episode.broke
            for other in others
        )
        _judge_showing(verdict, episode, statement, near, strict=statement in episode.fault.says and not hidden)
    later = [look for look in looks if look.at >= episode.mended]
    for statement in dict.fromkeys(name for look in looks for name in look.states):
        until = episode.mended + heals(statement)
        hidden = any(
            other.fault.touches(statement) and other.began <= until and other.mended >= episode.mended
            for other in others
        )
        if episode.fault.touches(statement) and not hidden:
            _judge_healing(verdict, episode, statement, later)
    return verdict


def _judge_showing(verdict: Verdict, episode: Episode, statement: str, looks: Sequence[Look], *, strict: bool) -> None:
    """Find when the statement turned, and whether it was true from then on. `strict`: to be gone is not enough."""
    within = episode.fault.must[statement]
    said = [(look.at - episode.broke, look.states.get(statement)) for look in looks]
    untrue = [(after, healthy) for after, healthy in said if healthy or (strict and healthy is None)]
    turned = next((one[0] for one in said if one not in untrue), None)
    if turned is not None:
        verdict.shown[statement] = turned
    late = [one for one in untrue if one[0] > within]
    if late:
        after, healthy = late[-1]
        word = "healthy" if healthy else "gone, and not 0,"
        verdict.lies.append(f"{episode.fault.name}: {statement} is {word} {after:.1f} s after; {within:.1f} s allowed")


def _judge_healing(verdict: Verdict, episode: Episode, statement: str, looks: Sequence[Look]) -> None:
    within = heals(statement)
    well = next((look.at - episode.mended for look in looks if look.states.get(statement)), None)
    if well is None or well > within:
        seconds = "never" if well is None else f"{well:.1f} s"
        verdict.lies.append(f"{episode.fault.name}: {statement} healthy again {seconds} after, {within:.1f} s allowed")
    if well is not None:
        verdict.healed[statement] = well


@dataclass(frozen=True)
class Alarm:
    """A statement that was sick, or missing, without a reason."""

    statement: str
    began: float
    seconds: float

    @property
    def lasting(self) -> bool:
        """Whether it is a lie: two scrapes and more."""
        return self.seconds > TWO_SCRAPES


def false_alarms(looks: Sequence[Look], expected: Iterable[str], episodes: Sequence[Episode]) -> list[Alarm]:
    """Find what was said to be sick, or not said at all, though no fault concerned it."""
    alarms = []
    for statement in expected:
        since: float | None = None
        for look in looks:
            well = look.states.get(statement, False)
            if well or any(episode.concerns(statement, look.at) for episode in episodes):
                if since is not None:
                    alarms.append(Alarm(statement, since, look.at - since))
                since = None
            elif since is None:
                since = look.at
        if since is not None:
            alarms.append(Alarm(statement, since, looks[-1].at + GRACE - since))
    return alarms
