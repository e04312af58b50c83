"""What a scrape costs Prosody and what the exporter itself costs, at 1,000 and at 50,000 sessions, in one run.

The stall is seen from inside: a timer in Prosody that is due every millisecond says how late it ran at most. Up to a
millisecond of that is no stall (see bench/prosody.lua), so the CPU time that Prosody used between two looks of the
timer is shown beside it, and what an empty command costs.

The longest stalls come from Prosody's garbage collector, whatever is done. It begins when the heap has grown by 5 %,
and each further 8 kB of garbage then cost a step. At 1,000 sessions that is after every 0.6 MB, and three or four steps
of 2 to 10 ms do it all; at 50,000 it is after every 16 MB, some 70 steps of 6 to 30 ms. So an action that leaves much
garbage has a worse median at 1,000 sessions than at 50,000, where it seldom meets the collector.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from exporters.prosody.client import AdminShell
from exporters.prosody.reader import SCRIPTS, Reader
from lab.scraping import scrape, scrape_settled
from lab.stack import Lab
from lab.users.traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

SIZES = (1_000, 50_000)
ROUNDS = 40
SCRAPES = 100
SCRAPE_INTERVAL = 15  # seconds, as Prometheus would
MESSAGES = 3_000
WATCHED = 20_000  # pushes, as many as the counting script watches at most
BATCH = 1_000  # sessions made in one command
STANZAS = 300_000
# Each of two counting scripts: what of instrument.lua becomes what. Watched pushes must last as long as it is measured.
_WATCHING = (
    ("not watched", "local function watch(host, user, info, kind)\n", "local function watch()\n\tdo return; end\n"),
    ("watched", "{ call = 30, message = 60 }", "{ call = 3000, message = 3000 }"),
)
LUA = Path(__file__).with_name("prosody.lua").read_text()
# No network traffic but ours, nothing on disk, and no statistics pass of Prosody's own while we look at the loop.
CONFIG = """
storage = "memory"
statistics_interval = 86400
modules_disabled = { "offline"; "s2s"; "limits" }
"""


@dataclass(frozen=True)
class Stall:
    """Longest stall per action, over ROUNDS actions, in milliseconds: lateness of the timer, and CPU time."""

    late: list[float]
    cpu: list[float]

    def __str__(self) -> str:
        return f"late {_spread(self.late)}   CPU {_spread(self.cpu)}"


def _spread(seen: list[float]) -> str:
    first, middle, third = statistics.quantiles(seen, n=4)
    return f"{middle:6.2f} ms ({first:5.2f}-{third:5.2f}), longest {max(seen):6.2f}"


class Bench:
    """One Prosody with an exporter, and a shell of our own into it."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.shell = AdminShell(lab.prosody.admin_socket, timeout=60)
        self.sessions = 0

    async def ask(self, call: str) -> str:
        """Call one function of bench/prosody.lua."""
        return await self.shell.lua(f'return package.loaded["commeazy.bench"].{call}')

    async def populate(self, size: int) -> None:
        """Bring Prosody to `size` bound sessions."""
        while self.sessions < size:
            upto = min(self.sessions + BATCH, size)
            await self.ask(f"populate({self.sessions + 1}, {upto})")
            self.sessions = upto

    async def watch_pushes(self) -> list[float]:
        """Have WATCHED pushes watched; returns bytes kept, bytes taken and microseconds of CPU for each."""
        parts = []
        for first in range(1, WATCHED + 1, BATCH):
            answer = await self.ask(f"watch_pushes({first}, {first + BATCH - 1})")
            parts.append([float(part) for part in answer.split()])
        return [statistics.mean(column) for column in zip(*parts, strict=True)]

    async def stall(self, action: Callable[[], Awaitable[object]]) -> Stall:
        """Do something ROUNDS times and see how long Prosody's loop stood still at most each time."""
        seen = Stall([], [])
        for _ in range(ROUNDS):
            await asyncio.sleep(0.05)
            await self.ask("longest_stall()")
            await action()
            await asyncio.sleep(0.05)
            late, cpu = map(float, (await self.ask("longest_stall()")).split())
            seen.late.append(late * 1000)
            seen.cpu.append(cpu * 1000)
        return seen


async def _nothing() -> None:
    return


async def _stalls(bench: Bench) -> None:
    scrape_at: list[Stall] = []
    for size in SIZES:
        await bench.populate(size)
        await scrape_settled(bench.lab.prosody_exporter.url)
        idle = await bench.stall(_nothing)
        asked = await bench.stall(lambda: bench.shell.lua("return 1"))
        scraped = await bench.stall(lambda: scrape(bench.lab.prosody_exporter.url))
        counted = await bench.stall(lambda: bench.shell.command("c2s:count()"))
        scrape_at.append(scraped)
        print(f"\n{size:,} sessions: longest stall of Prosody's main loop during one ..., median (middle half)")
        print(f"  nothing          {idle}")
        print(f"  empty command    {asked}")
        print(f"  scrape           {scraped}")
        print(f"  c2s:count()      {counted}")
        late, cpu = _ratios(counted, scraped)
        print(f"  scrape : c2s:count() = 1 : {late:.0f} late, 1 : {cpu:.0f} CPU, by medians (wanted at 50,000: 1 : 20)")
    small, large = scrape_at
    late, cpu = _ratios(large, small)
    print(
        f"\nscrape at {SIZES[1]:,} : at {SIZES[0]:,} sessions = {late:.2f} late, {cpu:.2f} CPU by medians (wanted: 1)"
    )


def _ratios(one: Stall, other: Stall) -> tuple[float, float]:
    return (
        statistics.median(one.late) / statistics.median(other.late),
        statistics.median(one.cpu) / statistics.median(other.cpu),
    )


async def _wakeups(bench: Bench) -> None:
    """What it costs to watch for each push whether its phone comes, at the most pushes that are watched."""
    print(f"\n{WATCHED:,} pushes to sleeping phones, {bench.sessions:,} sessions: watched, and not")
    handlers: list[tuple[float, float]] = []  # of each script: a push, a phone that is back
    for version, (name, line, instead) in enumerate(_WATCHING, 1):
        script = SCRIPTS["instrument"].replace("local VERSION = ", f"local VERSION = {version}000 + ", 1)
        assert script.count(line) == 1, f"instrument.lua has no line {line!r}"
        assert "installed" in await bench.shell.lua(script.replace(line, instead))
        await scrape_settled(bench.lab.prosody_exporter.url)
        kept, taken, push = await bench.watch_pushes()
        scraped = await bench.stall(lambda: scrape(bench.lab.prosody_exporter.url))
        counted = await bench.stall(lambda: bench.shell.command("c2s:count()"))
        stanza = float(await bench.ask(f"filter_cost({STANZAS})"))
        back = float(await bench.ask(f"come_back(1, {WATCHED})"))
        handlers.append((push, back))
        late, cpu = _ratios(counted, scraped)
        print(f" {name}")
        print(f"  memory           {kept:.0f} bytes a sleeping session, of {taken:.0f} taken")
        print(f"  a push           {push:.1f} us of CPU for both its events, asked and answered")
        print(f"  a phone is back  {back:.1f} us")
        print(f"  one stanza       {stanza:.0f} ns in the session's filters")
        print(f"  scrape           {scraped}")
        print(f"  scrape : c2s:count() = 1 : {late:.0f} late, 1 : {cpu:.0f} CPU, by medians (wanted: 1 : 20)")
    push, back = (watched - floor for floor, watched in zip(*handlers, strict=True))
    print(f" watching alone: {push:.1f} us a push, {back:.1f} us a phone that is back")


async def _exporter(bench: Bench) -> None:
    process = psutil.Process(bench.lab.prosody_exporter.pid)
    seconds, durations = process.cpu_times(), []
    for _ in range(SCRAPES):
        began = time.monotonic()
        await scrape(bench.lab.prosody_exporter.url)
        durations.append((time.monotonic() - began) * 1000)
    cpu = (sum(process.cpu_times()[:2]) - sum(seconds[:2])) / SCRAPES
    print(f"\nThe exporter at {bench.sessions:,} sessions, {SCRAPES} scrapes")
    print(f"  one scrape       median {statistics.median(durations):.1f} ms, longest {max(durations):.1f} ms")
    share = f"{cpu / SCRAPE_INTERVAL:.2%} of a core at one every {SCRAPE_INTERVAL} s"
    print(f"  CPU              {cpu * 1000:.1f} ms a scrape = {share} (wanted: under 1 %)")
    print(f"  resident memory  {process.memory_info().rss / 1e6:.1f} MB (wanted: at most 45)")


async def _stanzas(bench: Bench) -> None:
    with_counter = float(await bench.ask(f"filter_cost({STANZAS})"))
    prosody = psutil.Process(bench.lab.prosody.pid)
    async with Traffic(bench.lab.prosody.endpoints(), bench.lab.prosody.admin_socket) as traffic:
        sender, receiver = (traffic.client(user) for user in await traffic.accounts(2))
        for client in (sender, receiver):
            await client.login(management="off")
            traffic.clients.append(client)
        before = sum(prosody.cpu_times()[:2])
        for _ in range(MESSAGES):
            await sender.message(receiver.full_jid)
        await receiver.wait_until(lambda: receiver.received["message"] == MESSAGES, "all messages")
        message = (sum(prosody.cpu_times()[:2]) - before) / MESSAGES * 1e6
    bench.lab.prosody_exporter.stop()  # it would install the script again
    await Reader(bench.shell, instrument=True).uninstall()
    without = float(await bench.ask(f"filter_cost({STANZAS})"))
    each = with_counter - without
    print("\nThe stanza counter")
    print(f"  one stanza       {each:.0f} ns ({with_counter:.0f} ns with, {without:.0f} ns without)")
    part = 2 * each / 1000 / message
    print(f"  of a message     {part:.2%}, in and out; routing one takes Prosody {message:.0f} us of CPU")


async def main() -> None:
    """Run the whole benchmark."""
    with Lab() as lab:
        lab.prosody.config = CONFIG
        lab.start(lab.prosody, lab.prosody_exporter)
        await scrape_settled(lab.prosody_exporter.url)
        bench = Bench(lab)
        await bench.shell.lua(LUA)
        await _stalls(bench)
        await _wakeups(bench)
        await _exporter(bench)
        await _stanzas(bench)
        await bench.shell.close()
        lab.prosody.kill()  # saying goodbye to 50,000 sessions takes minutes and shows nothing


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
