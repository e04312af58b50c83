"""Turns coturn's log lines into counts: allocations, traffic, errors, STUN bindings. No I/O, no clock.

The counts begin with coturn's start: its banner in the log sets everything to zero. They depend only on the log, so a
restarted exporter gets the same numbers.

Clients choose parts of the log (user names, ORIGIN), and with coturn before 4.17 whole lines. So the digits of a number
and the size of all stored data are bounded, and no line raises.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

from toolkit.histogram import Histogram

if TYPE_CHECKING:
    from collections.abc import Collection, MutableMapping

EDGES = (1.0, 5.0, 15.0, 30.0, 60.0, 180.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0, 14400.0)
_BANNER = re.compile(rb"Version Coturn-(\d{1,4}(?:\.\d{1,4}){1,3})\b")
# Which session a line is about: `session <id>: <message>` before coturn 4.18, `<message> (session <id>)` since.
_BEFORE_4_18 = re.compile(rb"session (?P<id>\d{18}): (?P<message>.*)", re.DOTALL)
_SINCE_4_18 = re.compile(rb" [A-Z]+ (?P<message>.*) \((?:[^()]*, )?session (?P<id>\d{18})\)\s*\Z", re.DOTALL)
_EVENT = re.compile(
    rb"(?:allocation )?(?P<state>new|refreshed), realm=<[^>]*>, username=<(?P<owner>[^>]*)>,"
    rb" lifetime=(?P<lifetime>\d{1,10})\b"
    rb"|(?:allocation )?(?P<delete>delete): "
    rb"|(?P<side>peer usage|usage): realm=<[^>]*>, username=<[^>]*>,"
    rb" rp=(?P<rp>\d{1,10}), rb=(?P<rb>\d{1,10}), sp=\d{1,10}, sb=(?P<sb>\d{1,10})\b"
    rb"|(?P<closed>closed) "
    rb"|(?:origin <[^>]*> )?realm <[^>]*> user <[^>]*>: incoming packet (?P<method>[A-Za-z_]{1,32}) processed,"
    rb" (?:success|error (?P<error>\d{3})\b)"
)
_BAD_CREDENTIALS = re.compile(
    rb"Cannot find credentials of user <|credentials are incorrect"
    rb"|credentials of user <.{0,1024}> (?:are wrong|have expired) "  # coturn 4.18
)
_MOST_ALLOCATIONS = 1 << 16  # more than coturn has relay ports on one address
_MOST_OTHERS = 10_000  # sessions without an allocation live a minute; a scan must not cost memory
_CLOCK_DIGITS = 10
Value = TypeVar("Value")


@dataclass
class Run:
    """The counts of one run of coturn, from its start or from where the log was first read.

    Args:
        complete: whether `live` is complete: the log was read from the start of the run, and nothing was dropped.
        version: e.g. "4.6.1", "" when the banner was not seen.
        events: created, refreshed, deleted.
        traffic: bytes by (side, direction), as of coturn's last report per session: after 4,096 packets, and its end.
        errors: failed Allocate requests by STUN error code.
        bindings: logged STUN Binding requests (coturn logs them with log-binding only).
        stray_packets: requests other than TURN's in sessions that never allocated: STUN bindings, up to a minute late.
        probe_bindings: Binding requests that a probe made and that are in neither of these two.
        durations: how long allocations lasted, in seconds.
        live: open allocations, with the time they began where the log has it.
        probes: open allocations of other probes: of a second exporter, or of the one before this.
        own: open allocations of this exporter's probe.
    """

    complete: bool = False
    version: str = ""
    events: Counter[str] = field(default_factory=Counter)
    traffic: Counter[tuple[str, str]] = field(default_factory=Counter)
    errors: Counter[int] = field(default_factory=Counter)
    bindings: int = 0
    stray_packets: int = 0
    probe_bindings: int = 0
    durations: Histogram = field(default_factory=lambda: Histogram(EDGES))
    live: dict[bytes, float | None] = field(default_factory=dict)
    probes: dict[bytes, None] = field(default_factory=dict)
    own: dict[bytes, None] = field(default_factory=dict)


class LogStatistics:
    """Keeps the counts of the run that the log is in.

    Args:
        tag: a text in user name or origin that marks the sessions of all probes; no count includes them.
        name: a text that marks the sessions of this exporter's probe; it begins with the tag.
        earlier: the tags that this exporter's probes had before coturn's settings were read again.
    """

    def __init__(self, tag: bytes, name: bytes, earlier: Collection[bytes] = ()) -> None:
        self._tags = tuple({tag, *earlier})
        self._name = name
        self.run = Run()
        self._of_probes: dict[bytes, bool] = {}  # and whether they have an allocation
        self._strangers: dict[bytes, int] = {}  # requests so far of sessions without an allocation
        # Allocations without a user name (no-auth): only their next line has the origin, which marks a probe.
        self._undecided: dict[bytes, float | None] = {}

    def feed(self, line: bytes) -> None:
        """Count one line; call it in the order of the log."""
        about = _BEFORE_4_18.search(line) or _SINCE_4_18.search(line)
        event = about and _EVENT.match(about["message"])
        if not about or not event:
            self._other(line)
            return
        session = about["id"]
        if session in self._of_probes or self._is_tagged(line):
            self._of_a_probe(session, event, line)
            return
        if session in self._undecided:
            self._created(session, self._undecided.pop(session))
        if event["side"]:
            self._usage(session, event)
        elif event["method"]:
            self._request(session, event["method"], event["error"])
        elif event["state"] == b"new":
            if event["owner"]:
                self._created(session, clock(line))
            else:
                _remember(self._undecided, session, clock(line), _MOST_OTHERS)
        elif event["state"]:
            self.run.events["refreshed"] += event["lifetime"] != b"0"  # with lifetime 0 the client releases it
        elif event["delete"]:
            self._deleted(session, clock(line))
        else:
            self._strangers.pop(session, None)

    def _other(self, line: bytes) -> None:
        if banner := _BANNER.search(line):
            self.run = Run(complete=True, version=banner[1].decode("ascii"))
            self._of_probes.clear()
            self._strangers.clear()
            self._undecided.clear()
        elif _BAD_CREDENTIALS.search(line) and not self._is_tagged(line):
            self.run.errors[401] += 1  # a bare 401 is the normal challenge

    def _is_tagged(self, line: bytes) -> bool:
        return any(tag in line for tag in self._tags)

    def _of_a_probe(self, session: bytes, event: re.Match[bytes], line: bytes) -> None:
        is_new = event["state"] == b"new" or session in self._undecided
        self._undecided.pop(session, None)
        if is_new:
            _remember(self.run.own if self._name in line else self.run.probes, session, None, _MOST_OTHERS)
        if event["method"] == b"BINDING":
            self.run.probe_bindings += 1
        if event["delete"]:
            self.run.probes.pop(session, None)
            self.run.own.pop(session, None)
        has_allocation = is_new or self._of_probes.get(session, False)
        if event["delete"] or (event["closed"] and not has_allocation):
            self._of_probes.pop(session, None)
        else:
            _remember(self._of_probes, session, has_allocation, _MOST_OTHERS)

    def _created(self, session: bytes, began: float | None) -> None:
        self._strangers.pop(session, None)
        self.run.events["created"] += 1
        if _remember(self.run.live, session, began, _MOST_ALLOCATIONS):
            self.run.complete = False  # a dropped one can still be open

    def _request(self, session: bytes, method: bytes, error: bytes | None) -> None:
        if method == b"BINDING":
            self.run.bindings += 1
            return
        # The same failure is logged as "message processed", too: count it under its own name only.
        if method == b"ALLOCATE" and error:
            self.run.errors[int(error)] += 1
        if session not in self.run.live:
            _remember(self._strangers, session, self._strangers.get(session, 0) + 1, _MOST_OTHERS)

    def _usage(self, session: bytes, event: re.Match[bytes]) -> None:
        side = "client" if event["side"] == b"usage" else "peer"
        self.run.traffic[side, "received"] += int(event["rb"])
        self.run.traffic[side, "sent"] += int(event["sb"])
        # With no-auth the sessions of calls have no user name either, so the name does not separate them.
        if side == "client" and session not in self.run.live and not _has_user(event):
            self.run.stray_packets += max(0, int(event["rp"]) - self._strangers.pop(session, 0))

    def _deleted(self, session: bytes, ended: float | None) -> None:
        self.run.events["deleted"] += 1
        began = self.run.live.pop(session, None)
        if began is not None and ended is not None:
            self.run.durations.observe(max(0.0, ended - began))


def clock(line: bytes) -> float | None:
    """Return when a line was written, in seconds from some fixed time; None for an operator's own timestamp format.

    coturn has four: `12: : ` and `12: (345): INFO: ` (seconds since its start), `2026-01-31T12:00:00+0000: : ` and
    `2026-01-31T12:00:00.123+0000 INFO ` (new-log-timestamp; the default since 4.17).
    """
    stamp = line[:64].partition(b" ")[0].rstrip(b":").decode("ascii", "replace")
    if stamp.isdigit():
        return float(stamp) if len(stamp) <= _CLOCK_DIGITS else None
    try:
        return datetime.fromisoformat(stamp).timestamp()
    except (ValueError, OverflowError, OSError):  # an invented date, e.g. in the year 1
        return None


def _has_user(usage: re.Match[bytes]) -> bool:
    return b"username=<>" not in usage[0]


def _remember(kept: MutableMapping[bytes, Value], session: bytes, value: Value, most: int) -> bool:
    """Keep at most so many by dropping the oldest; return whether one was dropped."""
    kept[session] = value
    if len(kept) <= most:
        return False
    del kept[next(iter(kept))]
    return True
