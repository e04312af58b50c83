"""What the rules of the promises cost a Prometheus that has watched 100 nodes for 30 days, and if they count right.

promtool writes what the rules read into Prometheus' storage, as often as a real Prometheus has it: the last hours of
the exporters' counters and 30 days of `up` every 15 s, 30 days of what rules record every minute. The older counters
are there every half hour, to count the 30 days in them too: an exporter restarted, and Prometheus was off for a while,
and the rules must find the same.
"""

from __future__ import annotations

import re
import sys
import time
from itertools import chain, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import promql_parser
import psutil
import yaml

from alerts.catalogue import KNOBS
from alerts.generate import RULES
from alerts.objectives import load
from alerts.promises import INTERVALS, increases
from bench.simulated import write_blocks
from exporters.synthetic.names import OK, RESULTS
from lab.running.server import Workspace
from lab.servers.prometheus import Prometheus
from toolkit.values import duration

if TYPE_CHECKING:
    from collections.abc import Iterator

NODES: Final = 100
RELAYS: Final = 33
DAYS: Final = 30
SCRAPE: Final = 15  # seconds between samples of what is read often
RULE: Final = 60  # of what a rule records
SELDOM: Final = 1800  # of the older counters
DENSE: Final = 6 * 3600  # seconds, the longest window that reads the exporters' counters
BLOCK: Final = 18 * 3600  # seconds that one file and one block of storage holds, and of the last hours:
LAST_BLOCK: Final = 7200
RESTARTED: Final = 18 * 86400  # seconds ago an exporter's counters began again at 0
OFF: Final = (10 * 86400, 10 * 86400 - 7200)  # Prometheus was off from so many seconds ago until so many
CLOSE: Final = 0.01  # how far what the rules count may be from what the counters say, of the latter
PATIENCE: Final = 600.0  # seconds to wait for the first evaluation of all groups
_JOURNEYS: Final = ("message", "login", "presence_force_quit", "presence_vanish")
_RELAYED: Final = ("turn_udp", "turn_tcp", "turn_tls")
_SOURCE: Final = 'job="synthetic",instance="monitoring",vantage="main"'
_RATES: Final = {OK: 0.99, "timeout": 0.01}  # of each try in a minute; the other results do not happen
_LABEL: Final = re.compile(r'(\w+)="([^"]*)"')


def _results(journeys: tuple[str, ...], place: str) -> Iterator[tuple[str, float]]:
    """Yield what counts the results of journeys at one place, and by how much each grows in a minute."""
    for journey in journeys:
        for result in RESULTS:
            labels = f'{_SOURCE},journey="{journey}",from="{place}",to="{place}",result="{result}"'
            yield f"synthetic_journeys_total{{{labels}}}", _RATES.get(result, 0)


def counters() -> dict[str, list[tuple[str, float]]]:
    """Return the counters of one node and of one relay, by what stands for its name in them."""
    there = f'{_SOURCE},journey="JOURNEY",from="NODE",to="NODE"'
    late = [
        (f'synthetic_journey_seconds_bucket{{{there.replace("JOURNEY", journey)},le="{edge}"}}', grows)
        for journey, edge, grows in (
            ("message", "0.1", 0.98),
            ("presence_force_quit", "90.0", 0.97),
            ("presence_vanish", "90.0", 0.97),
        )
    ]
    push = 'job="push-gateway",instance="NODE"'
    return {
        "NODE": [
            *_results(_JOURNEYS, "NODE"),
            *late,
            (f"synthetic_journey_seconds_count{{{there.replace('JOURNEY', 'message')}}}", 0.99),
            (f"push_voip_sent_total{{{push}}}", 0.6),
            (f"push_voip_failed_total{{{push}}}", 0.006),
            (f'push_latency_ms_count{{{push},handler="voip"}}', 0.606),
            (f'push_latency_ms_bucket{{{push},handler="voip",le="2000.0"}}', 0.6),
        ],
        "RELAY": list(_results(_RELAYED, "RELAY")),
    }


def sums() -> Iterator[tuple[str, list[tuple[float, int]]]]:
    """Yield each series of `slo:counter:sum` as the rules record it, and the growth and number of what it sums up."""
    groups = yaml.safe_load((RULES / "promises.yaml").read_text(encoding="utf-8"))["groups"]
    for rule in (rule for group in groups for rule in group["rules"] if rule["record"] == "slo:counter:sum"):
        selector: Any = promql_parser.parse(rule["expr"])
        found: dict[tuple[str, str], list[tuple[float, int]]] = {}
        for word, series in counters().items():
            for name, grows in series:
                labels = dict(_LABEL.findall(name))
                if name.partition("{")[0] == selector.expr.name and all(
                    _matches(each, labels) for each in selector.expr.matchers.matchers
                ):
                    once = labels["instance"] != "monitoring"
                    found.setdefault((labels["job"], labels["instance"]), []).append(
                        (grows, 1 if once else _number(word))
                    )
        own = ",".join(f'{key}="{value}"' for key, value in rule["labels"].items())
        for (job, instance), parts in found.items():
            yield f'slo:counter:sum{{job="{job}",instance="{instance}",{own}}}', parts


def _matches(matcher: Any, labels: dict[str, str]) -> bool:  # noqa: ANN401 - the parser's matchers have no public type
    value = labels.get(matcher.name, "")
    same = re.fullmatch(matcher.value, value) is not None if "Re" in str(matcher.op) else value == matcher.value
    return same != ("Not" in str(matcher.op))


def _number(word: str) -> int:
    return {"NODE": NODES, "RELAY": RELAYS}[word]


class Storage:
    """Writes the 30 days before a moment into a storage folder.

    Args:
        folder: Prometheus'.
        end: seconds since the epoch.
    """

    def __init__(self, folder: Path, end: int) -> None:
        self._folder = folder
        self._end = end
        self._first = end - DAYS * 86400
        self._sums = list(sums())
        self.samples = 0
        self.series = 0

    def fill(self) -> None:
        """Write block by block: promtool reads a file again for each block that it touches."""
        dense = (self._end - DENSE) // LAST_BLOCK * LAST_BLOCK
        old = [*range(self._first // BLOCK * BLOCK, dense, BLOCK), dense]
        for begin, end in chain(pairwise(old), self._last(dense)):
            text = self._folder / "days.om"
            with text.open("w", encoding="utf-8") as file:
                self.series = 0
                for part in self._block(range(max(begin, self._first), min(end, self._end)), begin >= dense):
                    file.write(part)
                file.write("# EOF\n")
            size = f"{BLOCK if begin < dense else LAST_BLOCK}s"
            write_blocks(text, self._folder / "data", "--max-block-duration", size)
            text.unlink()

    def _last(self, dense: int) -> Iterator[tuple[int, int]]:
        yield from ((begin, begin + LAST_BLOCK) for begin in range(dense, self._end, LAST_BLOCK))

    def _block(self, within: range, dense: bool) -> Iterator[str]:  # noqa: FBT001 - one of two kinds of block
        every = SCRAPE if dense else SELDOM
        for word, found in counters().items():
            one = "".join(self._series(name, [(grows, 1)], within, every) for name, grows in found)
            for number in range(_number(word)):
                yield one.replace(word, f"{word.lower()}{number}")
            self.series += len(found) * (_number(word) - 1)
            self.samples += one.count("\n") * (_number(word) - 1)
        up = self._series('up{job="push-gateway",instance="NODE"}', None, within, SCRAPE)
        for name, parts in self._sums:
            one = self._series(name, parts, within, RULE)
            many = NODES if "NODE" in name else 1
            yield from (one.replace("NODE", f"node{number}") for number in range(many))
            self.series += many - 1
            self.samples += one.count("\n") * (many - 1)
        yield from (up.replace("NODE", f"node{number}") for number in range(NODES))
        self.series += NODES - 1
        self.samples += up.count("\n") * (NODES - 1)
        yield from self._constants(within)

    def _constants(self, within: range) -> Iterator[str]:
        """Yield what does not grow: how often is tried, and what the rules remember of it."""
        for journey in (*_JOURNEYS, *_RELAYED):
            name = f'synthetic_journey_interval_seconds{{{_SOURCE},journey="{journey}"}}'
            yield self._series(name, 60 / 0.9, within, SCRAPE)
        for name, objective in load(KNOBS).objectives.items():
            own = ",".join(f'{key}="{value}"' for key, value in objective.labels.items())
            tries = {"presence-gone": 2 * NODES, "turn": 3 * RELAYS}.get(name, NODES)
            due = NODES / 15 if name == "call-push" else tries / 60
            yield self._series(f"slo:due:rate{{{own}}}", due, within, RULE)
            yield self._series(f"slo:measured_since:timestamp_seconds{{{own}}}", self._first, within, RULE)

    def _series(self, name: str, value: list[tuple[float, int]] | float | None, within: range, every: int) -> str:
        """Return a series' samples in a block: of counters together, of a constant, or, of None, of 1."""
        moments = [
            moment
            for moment in range(-(-within.start // every) * every, within.stop, every)
            if not self._end - OFF[0] <= moment < self._end - OFF[1]
        ]
        self.series += 1
        self.samples += len(moments)
        if not isinstance(value, list):
            return "".join([f"{name} {1 if value is None else value} {moment}\n" for moment in moments])
        began = [(m - (self._first if m < self._end - RESTARTED else self._end - RESTARTED)) // 60 for m in moments]
        return "".join(
            [
                f"{name} {sum(int(minutes * grows) * many for grows, many in value)} {moment}\n"
                for minutes, moment in zip(began, moments, strict=True)
            ]
        )


class Filled(Prometheus):
    """A Prometheus that scrapes nothing and has the promises' rules."""

    def prepare(self) -> None:
        """Write a configuration without jobs; the rules of days need not wait four minutes for their first turn."""
        rules = (RULES / "promises.yaml").read_text(encoding="utf-8").replace("interval: 4m\n", "interval: 1m\n")
        (self.directory / "rules.yaml").write_text(rules, encoding="utf-8")
        (self.directory / "prometheus.yml").write_text("rule_files: [rules.yaml]\n", encoding="utf-8")

    def command(self) -> list[str]:
        """Leave the blocks as they are: putting them together would be measured too."""
        blocks = [f"--storage.tsdb.{which}-block-duration=2h" for which in ("min", "max")]
        return [*super().command(), *blocks]


def compare(prometheus: Prometheus) -> list[str]:
    """Count 30 days in the counters themselves; print both ratios of each promise, and return what differs."""
    wrong = []
    for name, objective in load(KNOBS).objectives.items():
        total, good = (increases(terms, f"{DAYS}d") for terms in (objective.total, objective.good))
        began = time.monotonic()
        (counted,) = prometheus.query(f"1 - ({good}) / ({total})")
        took = time.monotonic() - began
        (recorded,) = prometheus.query(f'slo:sli_error:ratio_rate{DAYS}d{{sloth_slo="{name}"}}')
        print(f"  {name:<18} rules {recorded.value:.4%}, counters {counted.value:.4%} in {took:.1f} s")
        if abs(recorded.value - counted.value) > CLOSE * counted.value:
            wrong.append(name)
    return wrong


def evaluated(prometheus: Prometheus) -> dict[str, dict[str, float]]:
    """Wait until each group was evaluated once; return the seconds of each rule by group and name."""
    began = time.monotonic()
    while time.monotonic() < began + PATIENCE:
        groups = prometheus.api.client.ask("api/v1/rules", type="record")["data"]["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        if failing := [rule["name"] for rule in rules if rule["health"] == "err"]:
            raise RuntimeError(f"rules that fail: {', '.join(sorted(set(failing)))}")
        if rules and all(rule["health"] == "ok" for rule in rules):
            took: dict[str, dict[str, float]] = {}
            for group in groups:
                sums = took.setdefault(group["name"], {})
                for rule in group["rules"]:
                    sums[rule["name"]] = sums.get(rule["name"], 0.0) + rule["evaluationTime"]
            return took
        time.sleep(1)
    raise RuntimeError(f"the rules were not evaluated within {PATIENCE:.0f} s")


def memory(pid: int) -> tuple[float, float]:
    """Return the highest resident memory of a process so far, and what it has of its own now, in MiB."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    high, own = (re.search(rf"{key}:\s+(\d+) kB", status) for key in ("VmHWM", "RssAnon"))
    assert high
    assert own
    return int(high[1]) / 1024, int(own[1]) / 1024


def main() -> int:
    """Fill 30 days, evaluate all rules once, and print what that took; return 1 if they count wrong."""
    with Workspace() as lab:
        prometheus = Filled(lab)
        storage = Storage(prometheus.directory, int(time.time()) // RULE * RULE)
        storage.fill()
        size = sum(file.stat().st_size for file in (prometheus.directory / "data").rglob("*") if file.is_file())
        print(f"\n{NODES} nodes, {DAYS} days: {storage.series:,} series, {storage.samples:,} samples", end=", ")
        print(f"{size / 1e6:,.0f} MB")
        prometheus.start()
        before, began = psutil.Process(prometheus.pid).cpu_times(), time.monotonic()
        took = evaluated(prometheus)
        spent, lasted = psutil.Process(prometheus.pid).cpu_times(), time.monotonic() - began
        high, own = memory(prometheus.pid)
        for group, rules in took.items():
            total = sum(rules.values())
            print(f"group {group}: {total:.2f} s, {total / duration(INTERVALS[group]):.1%} of its interval")
            for name, seconds in sorted(rules.items(), key=lambda rule: -rule[1])[:8]:
                print(f"  {seconds:8.3f} s  {name}")
        cpu = spent.user + spent.system - before.user - before.system
        print(f"CPU of Prometheus: {cpu:.1f} s in the {lasted:.0f} s until each group was evaluated")
        print(f"resident memory: at most {high:.0f} MiB, {own:.0f} MiB of it not from files at the end")
        print("bad of all events in 30 days, by the rules and straight from the counters (a sample in half an hour):")
        wrong = compare(prometheus)
    for name in wrong:
        print(f"WRONG: {name}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
