"""Simulated nodes, as many as wanted: what real exporters answered (tests/recorded/), at any moment.

What counted something goes on counting, by other amounts each time, what was 0 stays 0, and large or broken gauges
wander: two samples of a series rarely have the same distance, so that no storage finds them simpler than real ones.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import time
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Thread
from typing import TYPE_CHECKING, Any, Final

import yaml
from aiohttp import web

from alerts.generate import RULES
from alerts.jobs import JOBS
from check.client import HttpClient
from check.prometheus import PrometheusApi
from lab.fakes.recorded import SAMPLE, TYPE, rises
from lab.fakes.recordings import FOLDER, SOURCES
from lab.running.workspace import LabError
from lab.servers.prometheus import Prometheus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from lab.running.server import Workspace

STEP: Final = 15  # seconds in which values change once
# Jobs whose one page tells of each node or relay: the word in the recording for the first, and for others of them.
_NODE_WORDS: Final = {"haproxy": ('"p1"', ('"p2"', '"p3"')), "synthetic": ('"prosody1"', ('"prosody2"',))}
_RELAY_WORD: Final = '"coturn1"'
_LARGE: Final = 1000  # a gauge of a whole number below it is a state or a count that stays


def page(job: str) -> str:
    """Return what a target of this job answers: its newest recording."""
    return (FOLDER / f"{SOURCES[job][-1]}.prom").read_text(encoding="utf-8")


def relays(nodes: int) -> int:
    """Return how many coturns go with so many nodes."""
    return max(3, nodes // 3)


def grown_to(job: str, text: str, nodes: int) -> str:
    """Return a page with a part for each node and relay, where it tells of them.

    Test users reach the users of their own node only (`cross_node: not_expected`): with pairs of nodes the series
    would grow with the square.
    """
    if job not in _NODE_WORDS:
        return text
    node, others = _NODE_WORDS[job]
    lines = []
    for line in text.splitlines():
        word, name, many = next(
            (each for each in ((node, "prosody", nodes), (_RELAY_WORD, "coturn", relays(nodes))) if each[0] in line),
            ("", "", 1),
        )
        if not any(other in line for other in others):
            lines += [line.replace(word, f'"{name}{number + 1}"') for number in range(many)] if word else [line]
    return "\n".join(lines) + "\n"


def pair_series() -> int:
    """Return how many series test users have for each pair of nodes that they try to reach each other on."""
    return sum('from="prosody1"' in line and 'to="prosody2"' in line for line in page("synthetic").splitlines())


def targets(nodes: int, port: int, hosts: int = 0) -> dict[str, list[dict[str, object]]]:
    """Give every job's target file: a Prosody and a gateway on each node, around them what such a size needs, hosts."""
    one = dict.fromkeys(("certificates", "synthetic", "prometheus", "alertmanager"), 1)
    count = {"haproxy": 2, "postgresql": 2, "coturn": relays(nodes), **one}
    instances = {job: [f"{job}{number + 1}" for number in range(many)] for job, many in count.items()}
    instances |= {job: [f"prosody{number + 1}" for number in range(nodes)] for job in ("prosody", "push-gateway")}
    every = [*instances["prosody"], *instances["haproxy"], *instances["postgresql"], *instances["coturn"], "monitoring"]
    instances["node"] = every[:hosts]
    return {
        job: [
            {"targets": [f"127.0.0.1:{port}"], "labels": {"instance": name, "__metrics_path__": f"/{job}/{name}"}}
            for name in names
        ]
        for job, names in instances.items()
    }


@dataclass(frozen=True)
class _Line:
    """One line of a page: a comment, whose value is None, or a series and how its value moves."""

    text: str
    family: str = ""
    value: float | None = None
    moves: float = 0.0  # how much it rises in a step at most, or wanders, as a share
    counts: bool = False

    def at(self, step: int) -> str:
        """Return its value, as in a page."""
        assert self.value is not None
        if not self.moves:
            return f"{self.value!r}"
        noise = zlib.crc32(f"{self.family} {step}".encode()) / 2**32
        value = self.value + self.moves * (step + noise) if self.counts else self.value * (1 + self.moves * noise)
        return f"{int(value)}" if self.value.is_integer() else f"{value!r}"


class Page:
    """A page of a target at any moment.

    Args:
        text: as recorded.
    """

    def __init__(self, text: str) -> None:
        kinds = {match[1]: match[2] for match in TYPE.finditer(text)}
        self._lines = [_line(line, kinds) for line in text.splitlines()]

    @property
    def series(self) -> int:
        """How many it has."""
        return sum(line.value is not None for line in self._lines)

    def at(self, step: int) -> str:
        """Return it as a target answers it in a step, a number of STEP seconds."""
        return "".join(
            f"{line.text}\n" if line.value is None else f"{line.text} {line.at(step)}\n" for line in self._lines
        )

    def samples(self, labels: str, moments: range, wanted: Callable[[str], bool]) -> Iterator[str]:
        """Yield the samples of each series whose name is wanted, with more labels, in OpenMetrics' format.

        Args:
            labels: such as `job="prosody",instance="prosody1"`.
            moments: seconds since the epoch.
            wanted: decides by the name.
        """
        for line in self._lines:
            name, _, own = line.text.partition("{")
            if line.value is not None and wanted(name):
                series = f"{name}{{{labels},{own}" if own else f"{name}{{{labels}}}"
                yield "".join([f"{series} {line.at(moment // STEP)} {moment}\n" for moment in moments])


def _line(text: str, kinds: dict[str, str]) -> _Line:
    sample = SAMPLE.fullmatch(text)
    if not sample:
        return _Line(text)
    name, value = sample["name"], float(sample["value"])
    family = re.sub(r"_(bucket|count|sum)$", "", name)  # all buckets of a histogram rise alike
    counts = rises(name, kinds) or (family != name and kinds.get(family) == "histogram")
    if counts:
        moves = 0.0 if not value else 10.0 if value.is_integer() else 0.37
    else:
        moves = 0.02 if "time" not in name and (not value.is_integer() or abs(value) > _LARGE) else 0.0
    return _Line(sample["series"], family, value, moves, counts)


class Simulation:
    """So many nodes with everything around them.

    Args:
        nodes: how many Prosody nodes.
    """

    def __init__(self, nodes: int) -> None:
        self.nodes = nodes
        self.hosts = nodes + relays(nodes) + 5
        self._pages = {job: Page(grown_to(job, page(job), nodes)) for job in SOURCES}

    def write_samples(self, file: Path, moments: range, wanted: Callable[[str], bool], jobs: tuple[str, ...]) -> int:
        """Write what targets of these jobs said at these moments, each job at its own interval; return how many."""
        samples = 0
        with file.open("w", encoding="utf-8") as text:
            for job in jobs:
                often = range(moments.start, moments.stop, JOBS[job].interval)
                labels = [entry["labels"] for entry in targets(self.nodes, 0, self.hosts)[job]]
                names = [f'instance="{label["instance"]}"' for label in labels]  # type: ignore[index] # a target file's entries are of any kind
                for one in self._pages[job].samples(f'job="{job}",instance="NODE"', often, wanted):
                    text.writelines(one.replace('instance="NODE"', name) for name in names)
                    samples += len(often) * len(names)
            text.write("# EOF\n")
        return samples

    @contextmanager
    def serving(self, port: int) -> Iterator[None]:
        """Answer as every target, in a thread of its own: the lab starts servers from the main thread."""
        loop = asyncio.new_event_loop()
        latest: dict[str, tuple[int, bytes]] = {}

        async def answer(request: web.Request) -> web.Response:
            job, step = request.match_info["job"], int(time.time()) // STEP
            if latest.get(job, (0, b""))[0] != step:
                latest[job] = (step, self._pages[job].at(step).encode())
            return web.Response(body=latest[job][1], content_type="text/plain")

        async def serve() -> web.AppRunner:
            app = web.Application()
            app.router.add_get("/{job}/{node}", answer)
            runner = web.AppRunner(app, access_log=None)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", port, reuse_address=True).start()
            return runner

        runner = loop.run_until_complete(serve())
        thread = Thread(target=loop.run_forever, daemon=True)
        thread.start()
        yield
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


class Simulated(Prometheus):
    """A Prometheus that scrapes simulated nodes at the shipped intervals, at first without rules.

    Args:
        lab: where it runs.
        simulation: the nodes.
        served: the port that plays all of them.
    """

    def __init__(self, lab: Workspace, simulation: Simulation, served: int) -> None:
        super().__init__(lab)
        self.simulated = targets(simulation.nodes, served, simulation.hosts)

    def prepare(self) -> None:
        """Take the shipped rules: no window is divided. Those of days need not wait four minutes for their turn."""
        super().prepare()
        for file in RULES.glob("*.yaml"):
            text = file.read_text(encoding="utf-8").replace("interval: 4m\n", "interval: 1m\n")
            (self.directory / "rules" / file.name).write_text(text, encoding="utf-8")

    def configured(self, config: dict[str, Any]) -> dict[str, Any]:
        """Change no interval, notify nobody, evaluate nothing."""
        del config["alerting"], config["rule_files"]
        scrape = {"scrape_configs": config["scrape_configs"]}
        (self.directory / "scrape.yml").write_text(yaml.safe_dump(scrape), encoding="utf-8")
        return config

    def write_targets(self) -> None:
        """Name the simulated nodes."""
        for file in (self.directory / "targets").glob("*.yml"):
            file.write_text(yaml.safe_dump(self.simulated.get(file.stem, [])))

    def evaluate(self) -> None:
        """Evaluate the rules from now on."""
        config = self.directory / "prometheus.yml"
        config.write_text(f"{config.read_text()}rule_files: [rules/*.yaml]\n", encoding="utf-8")
        if not self.reload():
            raise LabError(f"prometheus refused the rules{self.last_words()}")

    @property
    def api(self) -> PrometheusApi:
        """The questions that can be put to it, which may take long on a busy machine."""
        return PrometheusApi(HttpClient(self.url, timeout=120))

    def groups(self) -> list[dict[str, Any]]:
        """Return the groups of rules as it has them."""
        found: list[dict[str, Any]] = self.api.client.ask("api/v1/rules")["data"]["groups"]
        return found


def write_blocks(text: Path, storage: Path, *flags: str) -> None:
    """Make blocks of Prometheus' storage from a file in OpenMetrics' format."""
    command = ["promtool", "tsdb", "create-blocks-from", *flags, "openmetrics", "--quiet", str(text), str(storage)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - from PATH, as all of the lab
