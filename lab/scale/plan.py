"""What a run does, as numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """One run.

    Args:
        users: how many.
        seconds: how long they live before a node is lost.
        at_once: logins under way at a time while everybody comes: the servers' speed then decides how many a second.
        storm: the same after a node is lost.
        messages: a second, all users together.
        calls: a second, to users who are asleep.
        breaks: connections a second that break and are resumed.
        asleep: share of users whose phones only a push reaches.
        patience: seconds in which nobody new comes in, after which it is given up.
        aftermath: seconds that are watched after all are back and the node is started again.
    """

    users: int
    seconds: float = 120.0
    at_once: float = 40.0
    storm: float = 200.0
    messages: float = 20.0
    calls: float = 0.5
    breaks: float = 2.0
    asleep: float = 0.1
    patience: float = 180.0
    aftermath: float = 60.0


def plan(users: int) -> Plan:
    """Return the plan for so many users: what they do grows with their number, as far as one machine carries it."""
    busy = min(users, 20_000)
    return Plan(users, messages=max(5.0, busy / 500), breaks=busy / 2500, calls=min(2.0, busy / 5000))


def guard(users: int) -> Plan:
    """Return the plan for a short run that only sees whether the numbers are true."""
    return Plan(users, seconds=15.0, messages=20.0, calls=1.0, breaks=2.0, aftermath=10.0)
