"""What a run of `bench.scaling` measured, and what straight lines make of it for more nodes. It measures nothing."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

MACHINES: Final = ((2, 4), (4, 16))  # Section 4's smallest and largest: processors, GB of memory
GB: Final = 1e9
MINUTE: Final = 60
_NOISE: Final = 2


@dataclass(frozen=True)
class Cost:
    """What one database took.

    Attributes:
        scraping: cores, without rules.
        rules: seconds of CPU in a minute of all rules; what scraping takes is not in it.
        memory: bytes, the most that was resident.
    """

    scraping: float
    rules: float
    memory: float


@dataclass(frozen=True)
class Size:
    """One size, measured.

    Attributes:
        nodes: Prosody nodes.
        targets: everything that is scraped.
        node_series: of one node: Prosody, push gateway and host.
        series: all of them, without what rules record.
        recorded: what rules add.
        scraped: samples a second by scrapes.
        added: samples a second by rules.
        prometheus: what Prometheus took.
        groups: seconds by the clock of the fastest evaluation of each group of rules, and of its interval.
        firing: alerts that fired.
        federated: series with a colon in the name, which rules record to be read elsewhere.
    """

    nodes: int
    targets: int
    node_series: int
    series: float
    recorded: float
    scraped: float
    added: float
    prometheus: Cost
    groups: dict[str, tuple[float, float]]
    firing: int
    federated: int

    @property
    def cores(self) -> float:
        """What scrapes and rules take together."""
        return self.prometheus.scraping + self.prometheus.rules / MINUTE

    @property
    def quiet(self) -> bool:
        """Whether the clock says little more than the CPU, so that groups can be compared by it."""
        return self._by_the_clock < _NOISE * self.prometheus.rules

    @property
    def _by_the_clock(self) -> float:
        """Seconds by the clock of all groups in a minute."""
        return sum(seconds * MINUTE / interval for seconds, interval in self.groups.values())

    @property
    def evaluations(self) -> dict[str, float]:
        """CPU seconds of an evaluation of each group: the CPU of all rules, divided as the groups' times are."""
        share = self.prometheus.rules / self._by_the_clock
        return {name: seconds * share for name, (seconds, _) in self.groups.items()}


@dataclass(frozen=True)
class Query:
    """One rule's query: seconds in Prometheus and in VictoriaMetrics, and the series that each gave."""

    rule: str
    prometheus: float
    victoriametrics: float
    series: tuple[int, int]


@dataclass(frozen=True)
class Victoria:
    """VictoriaMetrics on the targets of one of the sizes, and vmalert with the same rules."""

    nodes: int
    series: float
    database: Cost
    vmalert: Cost
    queries: list[Query]


@dataclass(frozen=True)
class Storage:
    """The same samples on both disks, in bytes."""

    series: int
    samples: int
    chunks: int
    index: int
    victoriametrics: int
    victoriametrics_index: int

    @property
    def each(self) -> tuple[float, float]:
        """Bytes of a sample in Prometheus and in VictoriaMetrics, with its share of the index."""
        return (
            (self.chunks + self.index) / self.samples,
            (self.victoriametrics + self.victoriametrics_index) / self.samples,
        )


@dataclass(frozen=True)
class Results:
    """All parts."""

    dates: list[str]
    versions: list[tuple[str, str]]  # of Prometheus and VictoriaMetrics
    seconds: float
    sizes: list[Size]
    victoria: Victoria
    storage: Storage
    notes: list[str]  # what a reader must know about how a part was measured

    @classmethod
    def read(cls, parts: Mapping[str, Any]) -> Self:
        """Return what was kept as JSON, by part. Raises KeyError or TypeError for anything else."""
        sizes = [part["size"] for part in parts.values() if "size" in part]
        (victoria,) = (part["victoria"] for part in parts.values() if "victoria" in part)
        return cls(
            dates=sorted({part["date"] for part in parts.values()}),
            versions=sorted({(one, other) for one, other in (part["versions"] for part in parts.values())}),
            seconds=sum(part["seconds"] for part in parts.values()),
            sizes=sorted(map(_size, sizes), key=lambda size: size.nodes),
            victoria=Victoria(
                **victoria
                | {which: Cost(**victoria[which]) for which in ("database", "vmalert")}
                | {"queries": [Query(**one | {"series": tuple(one["series"])}) for one in victoria["queries"]]}
            ),
            storage=Storage(**parts["storage"]["storage"]),
            notes=[part["note"] for part in parts.values() if "note" in part],
        )


def _size(kept: Mapping[str, Any]) -> Size:
    groups = {name: tuple(figures) for name, figures in kept["groups"].items()}
    return Size(**{**kept, "prometheus": Cost(**kept["prometheus"]), "groups": groups})


@dataclass(frozen=True)
class Line:
    """A straight line over nodes."""

    zero: float
    each: float

    def at(self, nodes: float) -> float:
        """Return its value."""
        return self.zero + self.each * nodes

    def reaches(self, value: float) -> float:
        """Return at how many nodes it has a value; infinity if it does not rise."""
        return (value - self.zero) / self.each if self.each > 0 else float("inf")


def line(points: Iterable[tuple[float, float]]) -> Line:
    """Return the line of least squares through at least two points of nodes and a figure. Raises StatisticsError."""
    nodes, figures = zip(*points, strict=True)
    slope, intercept = statistics.linear_regression(nodes, figures)
    return Line(intercept, slope)


FIGURES: Final[dict[str, Callable[[Size], float]]] = {
    "series": lambda size: size.series + size.recorded,
    "samples a second": lambda size: size.scraped + size.added,
    "cores for scrapes": lambda size: size.prometheus.scraping,
    "CPU of all rules in a minute": lambda size: size.prometheus.rules,
    "memory": lambda size: size.prometheus.memory,
}


def lines(sizes: Sequence[Size]) -> dict[str, Line]:
    """Return the straight line of each figure over nodes, and of the cores of all."""
    figures = FIGURES | {"cores": lambda size: size.cores}
    return {name: line((size.nodes, figure(size)) for size in sizes) for name, figure in figures.items()}


def limits(sizes: Sequence[Size]) -> Iterator[tuple[str, float]]:
    """Yield what ends one Prometheus, and at how many nodes by the lines."""
    straight = lines(sizes)
    for processors, memory in MACHINES:
        yield f"{memory} GB of memory", straight["memory"].reaches(memory * GB)
        yield f"scrapes and rules on {processors} processors", straight["cores"].reaches(processors)
    yield (
        "rules that one processor evaluates one after the other",
        straight["CPU of all rules in a minute"].reaches(MINUTE),
    )
