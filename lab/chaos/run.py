"""One run: everything started, faults at random until time is up, and then the judgement."""

from __future__ import annotations

import math
import os
import random
import time
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING

from lab.chaos import clocks, judge, logs
from lab.chaos.caller import Caller, audit
from lab.chaos.clocks import Clocks
from lab.chaos.judge import Episode
from lab.chaos.mischief import Stage
from lab.chaos.report import Result
from lab.chaos.table import FAULTS, PROBE_INTERVAL, Fault, Kind, heals
from lab.chaos.vitals import sick
from lab.chaos.witness import Witness
from lab.running.workspace import LabError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lab.chaos.log_disk import LogDisk
    from lab.running.server import Server
    from lab.stack import Lab

WARM_UP = 25.0  # seconds before the first fault
READY = 60.0  # seconds within which everything must be healthy at first
QUIET = 20.0  # seconds after the last fault
PAUSE = (2.0, 6.0)  # seconds between faults, once all is healthy again
TWO_AT_ONCE = 0.3  # of the times
PATIENCE = 60.0  # seconds for a server to start again, or to end, beside all others
_TICK = 0.25  # seconds between looks at whether all our servers live


class Run:
    """A run.

    Args:
        lab: entered, nothing started.
        disk: for the logs.
        seed: decides every random choice.
        only: a part of the names of the faults to make; all of them if empty.
    """

    def __init__(self, lab: Lab, disk: LogDisk, seed: int, only: str = "") -> None:
        self._lab = lab
        self._seed = seed
        self._random = random.Random(seed)  # noqa: S311 - choices, not secrets
        lacking = clocks.lacking()
        self._stage = Stage(lab, disk, None if lacking else Clocks(lab.directory), self._random)
        impossible = {Kind.CLOCK: lacking, Kind.FULL: disk.lacking}
        wanted = [fault for fault in FAULTS if only in fault.name]
        self._faults = [fault for fault in wanted if not impossible.get(fault.kind)]
        self._left_out = [f"{kind}: {why}" for kind, why in impossible.items() if why]
        if not self._faults:
            raise LabError(f"no fault that can be made here has {only!r} in its name")
        gateways = [node.push_gateway for node in lab.nodes]
        exporters = [*(node.exporter for node in lab.nodes), lab.coturn_exporter, lab.certificate_exporter]
        self._ours: list[Server] = [*gateways, *exporters]
        self._began = time.time()
        self._witness = Witness(self._stage, self._ours, self._began)
        self._caller = Caller(gateways)
        self._episodes: list[Episode] = []
        self._expected: list[str] = []
        self._healthy_since = 0.0
        self._accidents: dict[str, Episode] = {}  # that are not over, by server
        self._all_seen = self._began  # when it was last known who lives
        self._crashes: list[tuple[str, str]] = []
        self._others: list[str] = []

    def start(self) -> Iterator[Server]:
        """Start everything; give each server once it is ready."""
        lab, stage = self._lab, self._stage
        flags = lab.coturn_exporter.flags
        lab.coturn_exporter.flags = lambda: [*flags(), f"--coturn.probe-interval={PROBE_INTERVAL}"]
        lab.coturn.config = "total-quota=1000"  # callers that are cut off leave their allocations behind
        if stage.clocks:
            for server in (*self._ours, *(node.prosody for node in lab.nodes), lab.coturn):
                stage.clocks.give(server)
        for server in self._ours:
            stage.disk.take(server)
        stage.disk.take_folder(lab.coturn.log_folder)
        for server in lab.start_all():
            server.patience = PATIENCE
            yield server

    def play(self, seconds: float) -> Result:
        """Make faults for so long, with everything watched; return what was found."""
        with self._witness, self._caller:
            self._warm_up()
            until = time.time() + seconds
            for faults in self._draw():
                if time.time() >= until:
                    break
                self._make(faults)
                if self._accidents:
                    self._settle(faults)
            self._wait(QUIET)
            self._settle(())
            self._caller.finish()
            self._wait(2 * _TICK)
            self._witness.check()
        return self._judged(seconds)

    def _warm_up(self) -> None:
        deadline = time.time() + READY
        self._wait(WARM_UP)
        while True:
            self._witness.check()
            states = self._witness.looks[-1].states
            self._expected = sorted(states)
            ill = sick(states, self._expected)
            if not ill:
                self._healthy_since = self._witness.looks[-1].at
                return
            if time.time() > deadline:
                raise LabError(f"not healthy after {READY:g} s, before the first fault: {', '.join(ill)}")
            self._wait(1.0)

    def _draw(self) -> Iterator[list[Fault]]:
        """One or two faults at a time; each once before any comes again."""
        bag: list[Fault] = []
        while True:
            if not bag:
                bag = self._random.sample(self._faults, len(self._faults))
            picked = [bag.pop()]
            if self._random.random() < TWO_AT_ONCE:
                other = next((fault for fault in reversed(bag) if fault.group != picked[0].group), None)
                if other:
                    bag.remove(other)
                    picked.append(other)
            yield picked

    def _make(self, faults: Sequence[Fault]) -> None:
        """Make these faults, the second somewhat later; mend each when its time is over; wait until all is healthy."""
        start = 0.0
        plan = []
        for number, fault in enumerate(faults):
            lasts = self._random.uniform(*fault.lasts)
            plan += [(start, 0, number), (start + lasts, 1, number)]
            start = self._random.uniform(0.5, 4)
        episodes = [Episode(fault, 0) for fault in faults]
        began = time.time()
        with ExitStack() as everything:
            lasting = [ExitStack() for _ in faults]
            for stack in lasting:
                everything.enter_context(stack)
            for at, mends, number in sorted(plan):
                self._wait(began + at - time.time(), faults)
                episode = episodes[number]
                if mends:
                    episode.mending = time.time()
                    lasting[number].close()
                    episode.mended = time.time()
                else:
                    episode.began = time.time()
                    self._episodes.append(episode)
                    lasting[number].enter_context(self._stage.break_(episode.fault))
                    episode.broke = time.time()
        self._say(episodes)
        self._settle(faults)
        self._wait(self._random.uniform(*PAUSE), faults)

    def _settle(self, faults: Sequence[Fault]) -> None:
        """With back what was broken, start again who could not live without it; wait until all is healthy."""
        for server in [server for server in self._lab.servers if server.crashed and server not in self._ours]:
            self._others.append(self._revive(server)[0].partition(";")[0])
            if (accident := self._accidents.pop(server.name, None)) is not None:
                accident.mended = time.time()
        if any(fault.group == "turn" for fault in faults):
            self._lab.calls.restart()  # a caller whose relay went away waits for ever
        deadline = time.time() + max(map(heals, self._expected)) + 1
        while time.time() < deadline:
            self._wait(1.0, faults)
            if not any(sick(look.states, self._expected) for look in self._witness.looks[-2:]):
                return

    def _say(self, episodes: Sequence[Episode]) -> None:
        minutes = (time.time() - self._began) / 60
        what = " and ".join(f"{one.fault.name} for {one.mending - one.broke:.1f} s" for one in episodes)
        print(f"  {minutes:5.1f} min  {what}", flush=True)

    def _wait(self, seconds: float, faults: Sequence[Fault] = ()) -> None:
        """Wait; see who ended by itself meanwhile, and start ours again."""
        until = time.time() + seconds
        while True:
            self._witness.check()
            for server in self._lab.servers:
                if server.crashed and server in self._ours:
                    during = " and ".join(fault.name for fault in faults) or "no fault"
                    self._crashes.append((during, " / ".join(self._revive(server))))
                elif server.crashed:
                    self._note_accident(server)
            self._all_seen = time.time()
            left = until - time.time()
            if left <= 0:
                return
            time.sleep(min(left, _TICK))

    def _note_accident(self, server: Server) -> None:
        """One that is not ours died of a fault: that must be shown as if it had been killed."""
        fault = next((one for one in FAULTS if one.server == server.name and one.kind is Kind.KILL), None)
        if fault is not None and server.name not in self._accidents:
            accident = Episode(fault, self._all_seen, time.time(), math.inf, math.inf)
            self._accidents[server.name] = accident
            self._episodes.append(accident)
            print(f"             {server.name} ended by itself", flush=True)

    def _revive(self, server: Server) -> list[str]:
        """Start a server that ended by itself; return its last words."""
        words = server.obituary().splitlines()
        if (accident := self._accidents.get(server.name)) is not None:
            accident.mending = time.time()
        server.kill()
        self._stage.start(server)
        return words

    def _judged(self, seconds: float) -> Result:
        looks = [look for look in self._witness.looks if look.at >= self._healthy_since]
        ledger = self._witness.ledger
        torn = any(episode.fault.kind is Kind.FULL for episode in self._episodes)
        log_lines, errors = [], Counter[str]()
        for server in self._ours:
            wrong, logged = logs.complaints(server.log.read_text(errors="replace").splitlines(), torn=torn)
            log_lines += [f"{server.name}: {line}" for line in wrong]
            errors.update({f"{server.name}: {text}": count for text, count in logged.items()})
        providers = self._lab.providers
        received = [*providers.received("apns"), *providers.received("fcm")]
        sent = ledger.total("push_voip_sent_total") + ledger.total("push_fcm_sent_total")
        accepted = sum(push["accepted"] for push in received)
        if sent > accepted:
            ledger.wrong[f"the gateways say {sent} pushes were sent, and the providers accepted {accepted}"] += 1
        cores = os.cpu_count() or 1
        return Result(
            seconds=seconds,
            seed=self._seed,
            verdicts=[judge.judge(episode, looks, self._episodes) for episode in self._episodes],
            alarms=judge.false_alarms(looks, self._expected, self._episodes),
            crashes=[*self._crashes, *self._stage.disorder],
            others=sorted(f"{text} ({count} times)" for text, count in Counter(self._others).items()),
            books=audit(self._caller.asked, received, self._episodes),
            absurd=[f"{text} ({count} times)" for text, count in ledger.wrong.items()],
            lives=self._witness.holdings.lives(),
            log_lines=log_lines,
            errors=[f"{text} ({count} times)" for text, count in errors.most_common()],
            left_out=self._left_out,
            traffic=(
                f"{ledger.total('prosody_stanzas_total')} stanzas, {ledger.total('prosody_authentications_total')} "
                f"logins, {ledger.total('coturn_allocations_total')} events of TURN allocations, {accepted} pushes."
            ),
            machine=(
                f"{cores} cores, load average up to {self._witness.busiest:.1f}"
                f"{', so the machine was loaded' if self._witness.busiest > cores else ''}; "
                f"two looks at Prometheus were {self._witness.blind:.1f} s apart at most."
            ),
        )
