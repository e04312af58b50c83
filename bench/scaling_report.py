"""Renders docs/scaling-report.md from results, into the words of bench/scaling.md. It measures nothing."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.scaling_results import FIGURES, GB, MINUTE, limits, lines
from bench.simulated import pair_series
from exporters.synthetic.config import INTERVALS, MOST_MESSAGES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bench.scaling_results import Results, Size

WORDS: Final = Path(__file__).with_name("scaling.md")
MANY: Final = 1000  # nodes that no run here has
RETENTION: Final = 90  # days, as docs/install.md sets it
_MB, _KB = 1e6, 1e3
_DAY: Final = 86400
_CHUNK: Final = 120  # samples of a series that Prometheus collects before it writes them to a file
_TEXT: Final[dict[str, tuple[Callable[[float], str], Callable[[float], str]]]] = {  # a figure, and what a node adds
    "series": (lambda value: f"{value:,.0f}", lambda value: f"{value:,.0f}"),
    "samples a second": (lambda value: f"{value:,.0f}", lambda value: f"{value:.1f}"),
    "cores for scrapes": (lambda value: f"{value:.3f}", lambda value: f"{value:.6f}"),
    "CPU of all rules in a minute": (lambda value: f"{value:.1f} s", lambda value: f"{value * 1000:.0f} ms"),
    "memory": (lambda value: f"{value / GB:.2f} GB", lambda value: f"{value / _MB:.1f} MB"),
}


def report(results: Results) -> str:
    """Return the page."""
    sizes, storage, of = results.sizes, results.storage, results.victoria
    (size,) = (size for size in sizes if size.nodes == of.nodes)
    straight, largest = lines(sizes), sizes[-1]
    pair, most = pair_series(), math.isqrt(int(MOST_MESSAGES * INTERVALS["message"][0]))
    return WORDS.read_text(encoding="utf-8").format(
        date=" and ".join(results.dates),
        minutes=f"{results.seconds / MINUTE:.0f}",
        prometheus=" and ".join(one for one, _ in results.versions),
        victoriametrics=" and ".join(other for _, other in results.versions),
        notes="".join(f" {note}" for note in results.notes),
        sizes=", ".join(f"{size.nodes}" for size in sizes),
        largest=f"{largest.nodes}",
        many=f"{MANY:,}",
        compared=f"{of.nodes}",
        retention=f"{RETENTION}",
        node_series=f"{largest.node_series:,}",
        firing=", ".join(f"{size.firing}" for size in sizes),
        federated=f"{size.federated:,}",
        own_series=f"{size.series + size.recorded:,.0f}",
        many_series=f"{straight['series'].at(MANY) / 1e6:.1f}",
        many_samples=f"{straight['samples a second'].at(MANY):,.0f}",
        samples=f"{storage.samples:,}",
        stored=f"{storage.series:,}",
        own_memory=f"{size.prometheus.memory / (size.series + size.recorded) / _KB:.1f}",
        its_memory=f"{of.database.memory / of.series / _KB:.1f}",
        own_bytes=f"{storage.each[0]:.2f}",
        its_bytes=f"{storage.each[1]:.2f}",
        own_rules=f"{size.prometheus.rules:.1f}",
        its_rules=f"{of.database.rules + of.vmalert.rules:.1f}",
        head=f"{_CHUNK * storage.chunks / storage.samples:.0f}",
        pair=f"{pair}",
        pair_nodes=f"{most}",
        pairs=f"{pair * most * (most - 1):,}",
        table_sizes=_sizes(results),
        table_lines=_lines(results),
        table_groups=_groups(results),
        table_storage=_storage(results),
        table_victoria=_victoria(results, size),
        table_queries=_queries(results),
        table_limits=_limits(results),
    )


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    cells = list(head)
    lines_of_it = (f"| {' | '.join(row)} |" for row in (cells, *rows))
    first, *others = lines_of_it
    return "\n".join((first, f"|{'---|' * len(cells)}", *others))


def _sizes(results: Results) -> str:
    straight = lines(results.sizes)
    rows = [
        (f"{size.nodes:,}", "measured", f"{size.targets:,}", {n: of(size) for n, of in FIGURES.items()})
        for size in results.sizes
    ]
    rows.append((f"{MANY:,}", "**extrapolated**", "", {name: straight[name].at(MANY) for name in FIGURES}))
    day = results.storage.each[0] * _DAY
    return _table(
        ("nodes", "", "targets", *FIGURES, f"disk for {RETENTION} days"),
        (
            (
                *about,
                *(_TEXT[name][0](figure) for name, figure in figures.items()),
                f"{figures['samples a second'] * day * RETENTION / GB:,.0f} GB",
            )
            for *about, figures in rows
        ),
    )


def _lines(results: Results) -> str:
    straight, before, largest = lines(results.sizes), lines(results.sizes[:-1]), results.sizes[-1]
    return _table(
        ("", "for n nodes", f"{largest.nodes} nodes by the smaller sizes", "measured"),
        (
            (
                name,
                f"{figure(straight[name].zero)} + n x {each(straight[name].each)}",
                figure(before[name].at(largest.nodes)),
                figure(FIGURES[name](largest)),
            )
            for name, (figure, each) in _TEXT.items()
        ),
    )


def _groups(results: Results) -> str:
    if not all(size.quiet for size in results.sizes):
        return "In this run the machine had too much other work to say which group takes how much."
    return _table(
        ("group", "every", *(f"{size.nodes} nodes" for size in results.sizes)),
        (
            (name, f"{interval:.0f} s", *(f"{size.evaluations[name]:.3f} s" for size in results.sizes))
            for name, (_, interval) in results.sizes[-1].groups.items()
        ),
    )


def _storage(results: Results) -> str:
    of = results.storage
    return _table(
        ("", "Prometheus, one block", "VictoriaMetrics"),
        (
            ("samples", *(f"{value / of.samples:.2f} bytes each" for value in (of.chunks, of.victoriametrics))),
            ("index", *(f"{value / of.series:.0f} bytes a series" for value in (of.index, of.victoriametrics_index))),
            ("together, for a sample", *(f"{value:.2f} bytes" for value in of.each)),
        ),
    )


def _victoria(results: Results, size: Size) -> str:
    of = results.victoria
    costs = (size.prometheus, of.database, of.vmalert)
    return _table(
        ("", "Prometheus", "VictoriaMetrics", "vmalert"),
        (
            ("series", f"{size.series + size.recorded:,.0f}", f"{of.series:,.0f}", ""),
            ("cores for scrapes", *(f"{cost.scraping:.3f}" for cost in costs[:2]), ""),
            ("CPU of all rules in a minute", *(f"{cost.rules:.1f} s" for cost in costs)),
            ("memory", *(f"{cost.memory / _MB:,.0f} MB" for cost in costs)),
        ),
    )


def _queries(results: Results) -> str:
    return _table(
        ("rule", "Prometheus", "VictoriaMetrics", "series in the answers"),
        (
            (
                query.rule,
                *(f"{took * 1000:.0f} ms" for took in (query.prometheus, query.victoriametrics)),
                f"{query.series[0]} and {query.series[1]}",
            )
            for query in results.victoria.queries
        ),
    )


def _limits(results: Results) -> str:
    return _table(
        ("limit", "reached at"),
        ((what, f"{nodes:,.0f} nodes" if nodes < float("inf") else "never") for what, nodes in limits(results.sizes)),
    )
