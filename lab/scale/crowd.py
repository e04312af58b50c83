"""`python -m lab.scale.crowd`: one process that holds thousands of users, and does what its standard input says.

The first line of the input is the setting, as JSON; each further line is one order, {"do": WORD, ...}.
Each line is answered by one line of JSON. It has one loop and no thread. It judges nothing.
"""

from __future__ import annotations

import json
import os
import random
import select
import ssl
import sys
import time
from collections import Counter, deque
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Any

import psutil

from lab.scale.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable

_TURN = 0.02  # seconds of the loop's clockwork
# Seconds before a user tries again, doubled each time, of which half is chance.
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
_AWAKE = 2.0  # seconds for which a phone that was woken reads and acknowledges what has come
_STUCK = 60.0  # seconds after which a login under way is given up
_KEPT = 100_000  # times remembered


class Crowd:
    """The users of one process, and what they do each second.

    Args:
        setting: domain, path, server_name, ca (None: the system's; "": no TLS), doors, addresses, asleep, accounts.
    """

    def __init__(self, setting: dict[str, Any]) -> None:
        self.domain, self.path, self.server_name = setting["domain"], setting["path"], setting["server_name"]
        self.tls = _tls(setting["ca"])
        doors = [(host, port) for host, port in setting["doors"]]
        addresses = setting["addresses"]
        chance = random.Random(0)  # noqa: S311 - a choice, no secret
        self._sessions = [
            Session(self, user, password, address, doors[number % len(doors)])
            for number, (address, users) in enumerate(addresses)
            for user, password in users
        ]
        self._neighbours: dict[str, list[Session]] = {}
        for session in self._sessions:
            self._neighbours.setdefault(session.source or "here", []).append(session)
        for session in chance.sample(self._sessions, round(setting["asleep"] * len(self._sessions))):
            session.token = f"{chance.getrandbits(256):064x}"
        self._chance = chance
        self._poll = select.epoll()
        self._by_fd: dict[int, Session] = {}
        self._wanting: deque[Session] = deque()
        self._later: list[tuple[float, int, Session]] = []
        self._order = count()
        self._under_way: set[Session] = set()
        self._tries: Counter[str] = Counter()
        self.at_once = 1.0  # logins under way
        self.per_second = {"messages": 0.0, "calls": 0.0, "breaks": 0.0}
        self._owed = dict.fromkeys(self.per_second, 0.0)
        self.counts: Counter[str] = Counter()
        self._took: deque[float] = deque(maxlen=_KEPT)
        self._logins: deque[float] = deque(maxlen=_KEPT)
        self._last = time.monotonic()
        self._sleeping: list[Session] = []
        self._drowsy: deque[tuple[float, Session]] = deque()

    # What a session says ---------------------------------------------------------------------------------------

    def interested(self, session: Session, *, writing: bool) -> None:
        """See Host."""
        assert session.sock is not None
        number = session.sock.fileno()
        mask = select.EPOLLIN | (select.EPOLLOUT if writing else 0)
        if number not in self._by_fd:
            self._by_fd[number] = session
            self._poll.register(number, mask)
        elif session.mask != mask:
            self._poll.modify(number, mask)
        session.mask = mask

    def closing(self, session: Session) -> None:
        """See Host."""
        if session.sock is not None and self._by_fd.pop(session.sock.fileno(), None) is not None:
            self._poll.unregister(session.sock)

    def opened(self, session: Session, *, resumed: bool) -> None:
        """See Host."""
        self._under_way.discard(session)
        self._tries.pop(session.user, None)
        self.counts["resumed" if resumed else "logins"] += 1
        self._logins.append(time.monotonic() - session.began)
        if session.token:
            self._drowsy.append((time.monotonic() + _AWAKE, session))

    def lost(self, session: Session, why: str) -> None:
        """See Host."""
        self._under_way.discard(session)
        self.counts[f"lost: {why}"] += 1
        tries = self._tries[session.user]
        self._tries[session.user] += 1
        pause = min(_FIRST_PAUSE * 2**tries, _LONGEST_PAUSE) * self._chance.uniform(0.5, 1)
        heappush(self._later, (time.monotonic() + pause, next(self._order), session))

    def bounced(self) -> None:
        """See Host."""
        self.counts["bounced"] += 1

    def delivered(self, seconds: float, *, kept: bool) -> None:
        """See Host."""
        self.counts["delivered"] += 1
        if kept:
            self.counts["delivered late"] += 1
        else:
            self._took.append(seconds)

    # The loop --------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Go on until standard input ends."""
        self._poll.register(0, select.EPOLLIN)
        os.set_blocking(0, False)
        while True:
            for number, _ in self._poll.poll(_TURN, 512):
                if number == 0:
                    text = sys.stdin.readline()
                    if not text:
                        return
                    print(json.dumps(self._obey(json.loads(text))), flush=True)
                elif (session := self._by_fd.get(number)) is not None:
                    session.ready()
            self._clockwork()

    def _clockwork(self) -> None:
        now = time.monotonic()
        passed, self._last = min(now - self._last, 1.0), now
        for what, rate in self.per_second.items():
            self._owed[what] = min(self._owed[what] + rate * passed, max(rate, 1.0))
        while self._later and self._later[0][0] <= now:
            self._wanting.append(heappop(self._later)[2])
        while self._drowsy and self._drowsy[0][0] <= now:
            session = self._drowsy.popleft()[1]
            if session.phase == "open":
                session.phase = "asleep"
                session.drop()
                self._sleeping.append(session)
        while self._wanting and len(self._under_way) < self.at_once:
            session = self._wanting.popleft()
            self._under_way.add(session)
            session.connect()
        for session in [one for one in self._under_way if now - one.began > _STUCK]:
            session.drop()
            session.phase = "out"
            self.lost(session, "stuck")
        for what, do in (("messages", self._message), ("calls", self._call), ("breaks", self._break_one)):
            while self._owed[what] >= 1:
                self._owed[what] -= 1
                do()

    def _any(self) -> Session | None:
        """Choose one who is there to stay."""
        for _ in range(20):
            session = self._chance.choice(self._sessions)
            if session.phase == "open" and not session.token:
                return session
        return None

    def _message(self) -> None:
        """One user writes to another one who comes from the same address, and so is on the same node."""
        sender = self._any()
        others = self._neighbours[sender.source or "here"] if sender else []
        receiver = self._chance.choice(others) if others else None
        if sender and receiver and receiver.phase == "open" and not receiver.token:
            self.counts["sent"] += 1
            self._say(sender, receiver, f"<body>at {time.monotonic():.6f}</body>")

    def _call(self) -> None:
        """One user calls another one who is asleep: the gateway wakes the phone, which comes back for a moment."""
        if not self._sleeping:
            return
        receiver = self._sleeping.pop(self._chance.randrange(len(self._sleeping)))
        heappush(self._later, (time.monotonic() + self._chance.uniform(0.5, 2), next(self._order), receiver))
        near = [one for one in self._neighbours[receiver.source or "here"] if one.phase == "open" and not one.token]
        if near:
            self.counts["calls"] += 1
            self._say(
                self._chance.choice(near),
                receiver,
                f"<propose xmlns='urn:xmpp:jingle-message:0' id='c{self.counts['calls']}'>"
                "<description xmlns='urn:xmpp:jingle:apps:rtp:1' media='audio'/></propose>",
            )

    def _say(self, sender: Session, receiver: Session, payload: str) -> None:
        try:
            sender.send(
                f"<message xmlns='jabber:client' type='chat' to='{receiver.user}@{self.domain}' "
                f"id='m{next(self._order)}'>{payload}</message>"
            )
        except OSError:
            sender.ready()  # which notices what is broken

    def _break_one(self) -> None:
        """One connection breaks, and its user resumes the session."""
        session = self._any()
        if session is not None:
            session.drop()
            session.phase = "out"
            self.counts["breaks"] += 1
            heappush(self._later, (time.monotonic() + self._chance.uniform(0.5, 3), next(self._order), session))

    # Orders ----------------------------------------------------------------------------------------------------

    def _obey(self, order: dict[str, Any]) -> dict[str, Any]:
        do: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "enter": self._enter,
            "rates": self._rates,
            "forget": self._forget,
            "look": self._look,
            "report": self._report,
        }
        return do[order["do"]](order)

    def _enter(self, _: dict[str, Any]) -> dict[str, Any]:
        """Let everybody log in who is out."""
        self._chance.shuffle(self._sessions)
        self._wanting.extend(self._sessions)
        return {}

    def _rates(self, order: dict[str, Any]) -> dict[str, Any]:
        """Set how much is done a second, and how many logins may be under way."""
        self.at_once = max(order.get("at_once", self.at_once), 1.0)
        self.per_second.update({key: value for key, value in order.items() if key in self.per_second})
        return {}

    def _forget(self, _: dict[str, Any]) -> dict[str, Any]:
        """Begin to count again from zero."""
        self.counts.clear()
        self._took.clear()
        self._logins.clear()
        return {}

    def _look(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"phases": Counter(session.phase for session in self._sessions), "counts": self.counts}

    def _report(self, order: dict[str, Any]) -> dict[str, Any]:
        """Report everything; the times alone are a megabyte, which is too much for a look each second."""
        process = psutil.Process()
        times = process.cpu_times()
        return self._look(order) | {
            "message_seconds": [round(seconds, 5) for seconds in self._took],
            "login_seconds": [round(seconds, 4) for seconds in self._logins],
            "rss": process.memory_info().rss,
            "cpu": times.user + times.system,
        }


def _tls(ca: str | None) -> ssl.SSLContext | None:
    return None if ca == "" else ssl.create_default_context(cafile=ca)


if __name__ == "__main__":
    crowd = Crowd(json.loads(sys.stdin.readline()))
    print("{}", flush=True)
    crowd.run()
