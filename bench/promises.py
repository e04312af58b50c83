"""What the rules of the promises cost a Prometheus that has watched 100 nodes for 30 days: time of each group, memory.

promtool writes the 30 days into Prometheus' storage at once: the counters that the rules read, with one sample in five
minutes. A real Prometheus has 20 times as many, as it scrapes every 15 s; the CPU of a rule grows with them.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psutil

from alerts.generate import RULES
from alerts.promises import INTERVALS
from exporters.synthetic.names import OK, RESULTS
from lab.running.server import Workspace
from lab.servers.prometheus import Prometheus
from toolkit.values import duration

if TYPE_CHECKING:
    from collections.abc import Iterator

NODES: Final = 100
RELAYS: Final = 33
DAYS: Final = 30
STEP: Final = 300  # seconds between samples
BLOCK: Final = 18 * 3600  # seconds that one file and one block of storage holds
PATIENCE: Final = 1800.0  # seconds to wait for the first evaluation of all groups
_JOURNEYS: Final = ("message", "login", "presence_force_quit", "presence_vanish")
_RELAYED: Final = ("turn_udp", "turn_tcp", "turn_tls")
_SOURCE: Final = 'job="synthetic",instance="monitoring",vantage="main"'


def _results(journeys: tuple[str, ...], place: str) -> Iterator[tuple[str, int]]:
    """Yield what counts the results of journeys at one place, and by how much each grows in a step."""
    for journey in journeys:
        for result in RESULTS:
            labels = f'{_SOURCE},journey="{journey}",from="{place}",to="{place}",result="{result}"'
            yield f"synthetic_journeys_total{{{labels}}}", 5 * (result == OK)


def series() -> dict[str, list[tuple[str, int]]]:
    """Return, by what stands for a name in them, the series of one node, of one relay, and of the exporter."""
    there = f'{_SOURCE},journey="JOURNEY",from="NODE",to="NODE"'
    late = [
        (f'synthetic_journey_seconds_bucket{{{there.replace("JOURNEY", journey)},le="{edge}"}}', 5)
        for journey, edge in (("message", "0.1"), ("presence_force_quit", "90.0"), ("presence_vanish", "90.0"))
    ]
    push = 'job="push-gateway",instance="NODE"'
    return {
        "NODE": [
            *_results(_JOURNEYS, "NODE"),
            *late,
            (f"synthetic_journey_seconds_count{{{there.replace('JOURNEY', 'message')}}}", 5),
            (f"push_voip_sent_total{{{push}}}", 3),
            (f"push_voip_failed_total{{{push}}}", 0),
            (f'push_latency_ms_count{{{push},handler="voip"}}', 3),
            (f'push_latency_ms_bucket{{{push},handler="voip",le="2000.0"}}', 3),
            (f"up{{{push}}}", 0),
        ],
        "RELAY": list(_results(_RELAYED, "RELAY")),
        "": [
            (f'synthetic_journey_interval_seconds{{{_SOURCE},journey="{journey}"}}', 0)
            for journey in (*_JOURNEYS, *_RELAYED)
        ],
    }


def fill(folder: Path, end: int) -> tuple[int, int]:
    """Write the days before `end` into a storage folder; return how many series and samples."""
    names = {"NODE": NODES, "RELAY": RELAYS, "": 1}
    count = samples = 0
    first = end - DAYS * 86400
    # Whole blocks: promtool reads a file again for each block that it touches.
    for begin in range(first // BLOCK * BLOCK, end, BLOCK):
        moments = range(max(begin, first), min(begin + BLOCK, end), STEP)
        text = folder / "days.om"
        count = 0
        with text.open("w", encoding="utf-8") as file:
            for word, found in series().items():
                one = "".join(
                    f"{name} {1 + moment // STEP * grows} {moment}\n" for name, grows in found for moment in moments
                )
                count += len(found) * names[word]
                for number in range(names[word]):
                    file.write(one.replace(word, f"{word.lower()}{number}") if word else one)
            file.write("# EOF\n")
        samples += count * len(moments)
        command = [
            "promtool",
            "tsdb",
            "create-blocks-from",
            "--max-block-duration",
            f"{BLOCK}s",
            "openmetrics",
            "--quiet",
        ]
        subprocess.run([*command, str(text), str(folder / "data")], check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - from PATH, as all of the lab
        text.unlink()
    return count, samples


class Filled(Prometheus):
    """A Prometheus that scrapes nothing and has the promises' rules at their own intervals."""

    def prepare(self) -> None:
        """Write a configuration without jobs."""
        (self.directory / "prometheus.yml").write_text(f"rule_files: [{RULES / 'promises.yaml'}]\n")


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
    """Fill 30 days, evaluate all rules once, and print what that took."""
    with Workspace() as lab:
        prometheus = Filled(lab)
        end = int(time.time()) // STEP * STEP
        count, samples = fill(prometheus.directory, end)
        size = sum(file.stat().st_size for file in (prometheus.directory / "data").rglob("*") if file.is_file())
        print(f"\n{NODES} nodes, {DAYS} days: {count:,} series, {samples:,} samples, {size / 1e6:,.0f} MB")
        prometheus.start()
        took = evaluated(prometheus)
        spent = psutil.Process(prometheus.pid).cpu_times()
        high, own = memory(prometheus.pid)
    for group, rules in took.items():
        total = sum(rules.values())
        print(f"group {group}: {total:.2f} s, {total / duration(INTERVALS[group]):.1%} of its interval")
        for name, seconds in sorted(rules.items(), key=lambda rule: -rule[1])[:6]:
            print(f"  {seconds:8.3f} s  {name}")
    print(f"CPU of Prometheus since its start: {spent.user + spent.system:.1f} s")
    print(f"resident memory: at most {high:.0f} MiB, {own:.0f} MiB of it not from files at the end")
    return 0


if __name__ == "__main__":
    sys.exit(main())
