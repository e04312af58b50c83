"""The command commeazy-maintenance: planned work on one Prosody node without paging anybody for its effects.

`start` silences what the work causes and drains the node in every HAProxy; `end` lets users in again, checks that the
node works, and ends the silences.
"""

from __future__ import annotations

import getpass
import re
import sys
import time
from argparse import ArgumentTypeError
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from alerts.catalogue import KNOBS
from alerts.thresholds import load
from check.client import CannotAskError, HttpClient
from check.haproxy import HaproxyError, HaproxySocket
from check.prometheus import PrometheusApi
from check.silences import Silences, matchers
from toolkit import __version__, cli
from toolkit.values import duration, seconds, url

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable, Sequence

_DESCRIPTION = """Planned work on a Prosody node. `start NODE` silences what follows from the work, drains the node in
every HAProxy and waits until its users are gone; `end NODE` lets users in again, checks the node and ends the silences;
`status` says what is under way. Ends with 0, 1 if the node is not as it should be, 2 if a server cannot be asked."""
_NODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,62}", re.ASCII)
_LOOK = 2.0  # seconds between two looks while waiting


class WorkError(Exception):
    """One line: why the work cannot begin or end now, and what to do."""


@dataclass(frozen=True)
class Work:
    """Planned work on one node.

    Args:
        node: its name, as the instance label and as HAProxy's server.
        prometheus: that watches it.
        silences: of the Alertmanager.
        haproxies: every HAProxy that sends users to it.
        patience: seconds to wait for users to leave and for the node to be well.
        say: prints one line for the person who waits.
    """

    node: str
    prometheus: PrometheusApi
    silences: Silences
    haproxies: Sequence[HaproxySocket]
    patience: float
    say: Callable[[str], None]

    def start(self, length: timedelta) -> None:
        """Silence and drain.

        Raises:
            WorkError: another node is out, or this one is unknown.
        """
        others = sorted(set(self.silences.nodes()) - {self.node})
        if others:
            raise WorkError(f"work on {', '.join(others)} is under way; end it first: one node at a time")
        left = min(self._others_up(haproxy) for haproxy in self.haproxies)
        if left < 1:
            raise WorkError(f"without {self.node} no server would be UP; nobody could connect")
        least = load(KNOBS)["HaproxyBackendNodesLow"].value or 0
        wanted = matchers(re.escape(self.node), backend_low=left < least)
        before = self.silences.nodes().get(self.node, [])
        self.silences.add(self.node, wanted, length, getpass.getuser())
        self.silences.remove(before)
        self.say(f"silenced: what follows from work on {self.node}, for {length}")
        for haproxy in self.haproxies:
            haproxy.set_state(self.node, "drain")
        self.say(f"drained: {self.node} in {', '.join(haproxy.place for haproxy in self.haproxies)}")
        if self._until(self._users):
            self.say("its users are gone: begin")
        else:
            self.say(f"{self._users()[0]} and will be cut: begin when you like")

    def end(self) -> bool:
        """Let users in, look whether all is well, and end the silences; return whether it is."""
        for haproxy in self.haproxies:
            haproxy.set_state(self.node, "ready")
        self.say(f"ready: {self.node} in {', '.join(haproxy.place for haproxy in self.haproxies)}")
        if not self._until(self._wrong):
            for line in self._wrong():
                self.say(f"FAIL  {line}")
            self.say("the silences stay until their time is over; repair it and run `end` again")
            return False
        self.silences.remove(self.silences.nodes().get(self.node, []))
        self.say(f"ok    {self.node} works; the silences are over")
        return True

    def _others_up(self, haproxy: HaproxySocket) -> int:
        servers = haproxy.servers()
        if self.node not in servers:
            raise WorkError(f"{haproxy.place} has no server {self.node}; it has {', '.join(sorted(servers))}")
        return sum(server.status.startswith("UP") for name, server in servers.items() if name != self.node)

    def _users(self) -> list[str]:
        """Say how many connections are left, if any."""
        left = sum(haproxy.servers()[self.node].connections for haproxy in self.haproxies)
        return [f"{left} connections are left"] if left else []

    def _wrong(self) -> list[str]:
        """Return what is wrong after the work."""
        states = {haproxy.place: haproxy.servers()[self.node].status for haproxy in self.haproxies}
        wrong = [f"{place} says {state} of {self.node}" for place, state in states.items() if state != "UP"]
        name = self.node.replace("\\", "\\\\").replace('"', '\\"')
        down = self.prometheus.query(f'up{{instance="{name}"}} == 0 or prosody_up{{instance="{name}"}} == 0')
        wrong += [f"{s.labels.get('__name__')} of {s.labels.get('job')} on {self.node} is 0" for s in down]
        firing = self.prometheus.query(f'ALERTS{{instance="{name}",severity!="none"}}')
        return wrong + sorted({f"{s.labels['alertname']} is {s.labels['alertstate']}" for s in firing})

    def _until(self, wrong: Callable[[], Sequence[str]]) -> bool:
        """Look until nothing is wrong, and report changes; return whether that happened in time."""
        deadline = time.monotonic() + self.patience
        before: Sequence[str] = ()
        while found := wrong():
            if time.monotonic() > deadline:
                return False
            if found != before:
                self.say(f"waiting: {'; '.join(found)}")
            before = found
            time.sleep(_LOOK)  # HAProxy and Prometheus send no notice of a change
        return True


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.action != "status" and not options.node:
        parser.error(f"{options.action} needs a NODE")
    silences = Silences(HttpClient(options.alertmanager, timeout=options.timeout))
    try:
        if options.action == "status":
            nodes = silences.nodes()
            _say("\n".join(f"work on {node} is under way" for node in sorted(nodes)) or "no work is under way")
            return 0
        return _do(options, silences)
    except WorkError as error:
        print(f"commeazy-maintenance: {error}", file=sys.stderr)  # noqa: T201 - a command's answer
        return 1
    except (CannotAskError, HaproxyError) as error:
        print(f"commeazy-maintenance: {error}", file=sys.stderr)  # noqa: T201 - as above
        return 2


def _do(options: Namespace, silences: Silences) -> int:
    haproxies = options.haproxies or [HaproxySocket("ssh:haproxy1"), HaproxySocket("ssh:haproxy2")]
    prometheus = PrometheusApi(HttpClient(options.prometheus, timeout=options.timeout))
    work = Work(options.node, prometheus, silences, haproxies, options.wait, _say)
    if options.action == "start":
        work.start(timedelta(seconds=options.length))
        return 0
    return 0 if work.end() else 1


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - a command's answer


def _node(text: str) -> str:
    if not _NODE.fullmatch(text):
        raise ArgumentTypeError(f"{text!r} is no node; write a name such as prosody1")
    return text


def _parser() -> ArgumentParser:
    parser = cli.Parser("commeazy-maintenance", description=_DESCRIPTION, allow_abbrev=False)
    add = parser.add_argument
    add("action", choices=("start", "end", "status"))
    add("node", nargs="?", type=_node, metavar="NODE", help="as Prometheus and HAProxy call it: prosody1")
    add(
        "--for",
        dest="length",
        type=duration,
        default=3600.0,
        metavar="DURATION",
        help="the longest the work may take (1h)",
    )
    add(
        "--wait",
        type=seconds,
        default=300.0,
        metavar="SECONDS",
        help="for users to leave, and for the node to work again (300)",
    )
    add(
        "--haproxy",
        dest="haproxies",
        action="append",
        type=HaproxySocket.parse,
        metavar="PLACE",
        help="ssh:HOST or a local socket; may be repeated (ssh:haproxy1 and ssh:haproxy2)",
    )
    add("--prometheus", type=_url, default="http://localhost:9090", metavar="URL", help="(default %(default)s)")
    add("--alertmanager", type=_url, default="http://localhost:9093", metavar="URL", help="(default %(default)s)")
    add("--timeout", type=seconds, default=10.0, metavar="SECONDS", help="for one answer (default %(default)g)")
    add("--version", action="version", version=f"commeazy-maintenance, version {__version__}")
    return parser


def _url(text: str) -> str:
    return url(text, ("http", "https"), "http://localhost:9090")


if __name__ == "__main__":
    sys.exit(main())
