"""Turns coturn's log lines into counts: allocations, traffic, errors, STUN bindings. No I/O, no clock.

What coturn counts from its start, this counts from its start, too: its banner in the log sets everything to zero. So
the numbers are a function of the log, and an exporter that starts again arrives at the same ones.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

EDGES = (1.0, 5.0, 15.0, 30.0, 60.0, 180.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0, 14400.0)
_BANNER = re.compile(rb"Version Coturn-(\S+)")
_SESSION = re.compile(
    rb"session (\d{18}): (?:"
    rb"(?P<state>new|refreshed), realm=<[^>]*>, username=<[^>]*>, lifetime=(?P<lifetime>\d+)"
    rb"|(?P<delete>delete): "
    rb"|(?P<side>peer usage|usage): realm=<[^>]*>, username=<(?P<user>[^>]*)>,"
    rb" rp=(?P<rp>\d+), rb=(?P<rb>\d+), sp=\d+, sb=(?P<sb>\d+)"
    rb"|(?P<closed>closed) "
    rb"|(?:origin <[^>]*> )?realm <[^>]*> user <[^>]*>: incoming packet (?P<method>\w+) processed,"
    rb" (?:success|error (?P<error>\d+))"
    rb")"
)
_BAD_CREDENTIALS = (b"Cannot find credentials of user", b"credentials are incorrect")
_MOST_STRANGERS = 10_000  # sessions without an allocation live a minute; a scan must not cost memory


@dataclass
class Durations:
    """How long allocations lasted: `counts` per edge of EDGES and one above the last, and their sum in seconds."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(EDGES) + 1))
    seconds: float = 0.0


@dataclass
class Run:
    """The counts of one run of coturn, from its start or from where the log was first read.

    Args:
        complete: whether the log was read from the start of the run, so that `live` is all there is.
        version: e.g. "4.6.1", "" when the banner was not seen.
        events: created, refreshed, deleted.
        traffic: bytes by (side, direction), as of coturn's last report per session: after 4,096 packets, and its end.
        errors: failed Allocate requests by STUN error code.
        bindings: logged STUN Binding requests (coturn logs them with log-binding only).
        stray_packets: requests other than TURN's in sessions that never allocated: STUN bindings, up to a minute late.
        live: open allocations, with the time they began where the log tells.
        probes: open allocations of other probes: of a second exporter, or of the one before this.
    """

    complete: bool = False
    version: str = ""
    events: Counter[str] = field(default_factory=Counter)
    traffic: Counter[tuple[str, str]] = field(default_factory=Counter)
    errors: Counter[int] = field(default_factory=Counter)
    bindings: int = 0
    stray_packets: int = 0
    durations: Durations = field(default_factory=Durations)
    live: dict[bytes, float | None] = field(default_factory=dict)
    probes: set[bytes] = field(default_factory=set)


class LogStatistics:
    """Keeps the counts of the run that the log is in.

    Args:
        tag: a text only probes' sessions carry, in user name and origin; they are left out of everything.
        name: the user name of this exporter's own.
    """

    def __init__(self, tag: bytes, name: bytes) -> None:
        self._tag = tag
        self._name = name
        self.run = Run()
        self._own: set[bytes] = set()
        self._strangers: dict[bytes, int] = {}  # requests so far of sessions without an allocation

    def feed(self, line: bytes) -> None:
        """Take in one line, in the order of the log."""
        found = _SESSION.search(line)
        if found is None:
            self._other(line)
            return
        session = found[1]
        if self._tag in line or session in self._own:
            (self._own.discard if found["closed"] or found["delete"] else self._own.add)(session)
            if found["state"] == b"new" and self._name not in line:
                self.run.probes.add(session)
            elif found["delete"]:
                self.run.probes.discard(session)
        elif found["side"]:
            self._usage(session, found)
        elif found["method"]:
            self._request(session, found["method"], found["error"])
        elif found["state"] == b"new":
            self._strangers.pop(session, None)
            self.run.live[session] = clock(line)
            self.run.events["created"] += 1
        elif found["state"]:
            self.run.events["refreshed"] += found["lifetime"] != b"0"  # lifetime 0 is the client's farewell
        elif found["delete"]:
            self._deleted(session, clock(line))
        else:
            self._strangers.pop(session, None)

    def _other(self, line: bytes) -> None:
        if banner := _BANNER.search(line):
            self.run = Run(complete=True, version=banner[1].decode("ascii", "replace"))
            self._own.clear()
            self._strangers.clear()
        elif any(text in line for text in _BAD_CREDENTIALS) and self._tag not in line:
            self.run.errors[401] += 1  # a bare 401 is the normal challenge

    def _request(self, session: bytes, method: bytes, error: bytes | None) -> None:
        if method == b"BINDING":
            self.run.bindings += 1
            return
        # The same failure is logged as "message processed", too: count it under its own name only.
        if method == b"ALLOCATE" and error:
            self.run.errors[int(error)] += 1
        if session not in self.run.live:
            self._strangers[session] = self._strangers.get(session, 0) + 1
            if len(self._strangers) > _MOST_STRANGERS:
                del self._strangers[next(iter(self._strangers))]

    def _usage(self, session: bytes, found: re.Match[bytes]) -> None:
        side = "client" if found["side"] == b"usage" else "peer"
        self.run.traffic[side, "received"] += int(found["rb"])
        self.run.traffic[side, "sent"] += int(found["sb"])
        if side == "client" and not found["user"]:
            self.run.stray_packets += max(0, int(found["rp"]) - self._strangers.pop(session, 0))

    def _deleted(self, session: bytes, ended: float | None) -> None:
        self.run.events["deleted"] += 1
        began = self.run.live.pop(session, None)
        if began is not None and ended is not None:
            seconds = max(0.0, ended - began)
            self.run.durations.counts[bisect_left(EDGES, seconds)] += 1
            self.run.durations.seconds += seconds


def clock(line: bytes) -> float | None:
    """When a line was written, in seconds from some fixed time; None for a timestamp format of the operator's own.

    Coturn has four: `12: : ` and `12: (345): INFO: ` (seconds since its start), `2026-01-31T12:00:00+0000: : ` and
    `2026-01-31T12:00:00.123+0000 INFO ` (new-log-timestamp; the default since 4.17).
    """
    stamp = line.partition(b" ")[0].rstrip(b":").decode("ascii", "replace")
    if stamp.isdigit():
        return float(stamp)
    try:
        return datetime.fromisoformat(stamp).timestamp()
    except ValueError:
        return None
