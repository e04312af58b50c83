"""The Prosody exporter when the event loop is slow: few turns for each scrape, and slow is told apart from dead."""

from __future__ import annotations

from contextlib import asynccontextmanager
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from exporters.prosody.client import AdminShell
from exporters.prosody.reader import SCRIPTS
from lab.stack import Lab
from tests.live.prosody import lua, read, settled

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

# Keeps the loop busy for so many seconds in each of its turns, until `seconds` is taken away.
_BLOCK = """
local timer, now = require "prosody.util.timer", require "prosody.util.time".monotonic
local block = {{ seconds = {seconds} }}
package.loaded["blocked by a test"] = block
timer.add_task(0, function ()
    if not block.seconds then return nil end
    local free = now() + block.seconds
    while now() < free do end
    return 0
end)
return 1
"""

# Counts the pauses of functions that are made from now on.
_COUNTED = """
    local async, pauses = require "prosody.util.async", { count = 0 }
    package.loaded["pauses seen by a test"], pauses.sleep = pauses, async.sleep
    async.sleep = function (...) pauses.count = pauses.count + 1 return pauses.sleep(...) end
    return 1
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        lab.start(lab.prosody, lab.prosody_exporter)
        yield lab


@asynccontextmanager
async def blocked(lab: Lab, seconds: float) -> AsyncIterator[None]:
    """Block Prosody's event loop for so many seconds in each of its turns."""
    await lua(lab, _BLOCK.format(seconds=seconds))
    yield
    await lua(lab, 'package.loaded["blocked by a test"].seconds = nil return 1')


# The script looks at the clock once in each turn that takes longer than the 0.1 s between two looks.
async def test_a_scrape_of_a_slow_loop_takes_no_more_turns_than_one_command(lab: Lab) -> None:
    await settled(lab)
    async with blocked(lab, 0.4):
        looks = [(await read(lab))("prosody_event_loop_lag_seconds_count") for _ in range(4)]
        before, after = [
            await lua(lab, 'return package.loaded["commeazy.monitoring"].counters.lag.count') for _ in "12"
        ]
    # of a command on a new connection of its own, which is answered as fast as any other
    turns_of_a_command = int(float(after)) - int(float(before))
    assert all(later - earlier <= turns_of_a_command + 1 for earlier, later in pairwise(looks))


@asynccontextmanager
async def counted_pauses(lab: Lab) -> AsyncIterator[tuple[AdminShell, str]]:
    """Give a connection whose scrapes count their pauses in Prosody, and the Lua that says how many there were."""
    await lua(lab, _COUNTED)
    shell = AdminShell(lab.prosody.admin_socket)  # its function pauses by what was put in place
    await shell.lua(SCRIPTS["reader"])
    yield shell, 'return package.loaded["pauses seen by a test"].count'
    await shell.close()
    await lua(lab, 'require "prosody.util.async".sleep = package.loaded["pauses seen by a test"].sleep return 1')


async def pauses_of_a_slow_scrape(lab: Lab) -> int:
    """Scrape in a slow loop, and count the pauses."""
    async with counted_pauses(lab) as (shell, pauses):
        assert await lua(lab, pauses) != "0"  # in a fast loop there are some
        async with blocked(lab, 0.4):
            await lua(lab, "return 1")  # by now the script has looked at the clock of a slow loop
            before = await lua(lab, pauses)
            await shell.lua(SCRIPTS["scrape"])
            return int(float(await lua(lab, pauses))) - int(float(before))


async def test_a_scrape_of_a_loop_that_is_known_to_be_slow_makes_no_pause(lab: Lab) -> None:
    await settled(lab)
    assert await pauses_of_a_slow_scrape(lab) == 0


async def test_a_loop_that_takes_most_of_a_second_for_a_turn_is_slow_and_not_down(lab: Lab) -> None:
    before = await settled(lab)
    async with blocked(lab, 0.8):
        lab.prosody_exporter.restart()  # its new connection has nothing yet
        first = await read(lab)
        metrics = await read(lab)
    for seen in (first, metrics):
        assert seen("prosody_up") == 1
        assert seen("prosody_c2s_sessions") == 0
        assert seen("prosody_info") == 1  # Prosody's own metrics
    assert metrics("prosody_cpu_seconds_total") > before("prosody_cpu_seconds_total")
    late = metrics("prosody_event_loop_lag_seconds_count") - metrics("prosody_event_loop_lag_seconds_bucket", le="0.5")
    assert late > 0


async def test_without_the_counting_script_a_scrape_of_a_slow_loop_waits_in_one_pause_at_most(lab: Lab) -> None:
    flags = lab.prosody_exporter.flags
    lab.prosody_exporter.flags = lambda: [*flags(), "--prosody.instrument=off"]
    try:
        lab.prosody_exporter.restart()
        async with blocked(lab, 0.8):
            metrics = await read(lab)
        while await lua(lab, SCRIPTS["uninstall"]) != "removed":
            pass
        assert await pauses_of_a_slow_scrape(lab) == 1  # which tells it how slow the loop is
    finally:
        lab.prosody_exporter.flags = flags
        lab.prosody_exporter.restart()
    assert metrics("prosody_up") == 1
    assert metrics("prosody_setting", name="read_timeout") == 60


async def test_a_prosody_that_hangs_is_down_and_what_its_process_uses_is_still_known(lab: Lab) -> None:
    await settled(lab)
    lab.prosody.freeze()
    try:
        metrics = await read(lab)
    finally:
        lab.prosody.thaw()
    assert metrics("prosody_up") == 0
    assert metrics("prosody_exporter_scrape_failures_total", reason="timeout") == 1
    assert metrics("prosody_memory_used_bytes") > 1e6
    assert "prosody_c2s_sessions" not in metrics.names
    assert (await read(lab))("prosody_up") == 1


async def test_nothing_is_known_of_the_process_of_a_prosody_that_was_killed(lab: Lab) -> None:
    await settled(lab)
    lab.prosody.kill()
    metrics = await read(lab)
    lab.prosody.start()
    assert metrics("prosody_up") == 0
    assert "prosody_memory_used_bytes" not in metrics.names
    assert (await read(lab))("prosody_up") == 1
