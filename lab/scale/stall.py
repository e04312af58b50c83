"""How long a scrape stops the event loop of a Prosody full of users: seen from inside, as in bench/prosody.lua."""

from __future__ import annotations

import asyncio
import statistics
from typing import TYPE_CHECKING

from exporters.prosody.client import AdminShell
from lab.scraping import scrape

if TYPE_CHECKING:
    from lab.stack import Node

_ROUNDS = 20
_PAUSE = 0.05  # seconds on either side of what is watched
# The most CPU between two looks of a timer that is due every millisecond. Users make Prosody work meanwhile, too.
_WATCH = """
local timer = require "prosody.util.timer";
local seen = { busiest = 0, used = os.clock() };
package.loaded["commeazy.stall"] = seen;
timer.add_task(0.001, function ()
    if seen.over then return; end
    local cpu = os.clock();
    seen.busiest, seen.used = math.max(seen.busiest, cpu - seen.used), cpu;
    return 0.001;
end);
return "ready";
"""
_BUSIEST = """
local seen = package.loaded["commeazy.stall"];
local busiest = seen.busiest;
seen.busiest, seen.used = 0, os.clock();
return tostring(busiest);
"""
_END = 'package.loaded["commeazy.stall"].over = true; package.loaded["commeazy.stall"] = nil; return "over"'


async def stalls(node: Node) -> dict[str, float]:
    """Return the longest pieces of work in seconds of CPU, with a "scrape" and with "nothing": medians of _ROUNDS."""
    shell = AdminShell(node.prosody.admin_socket, timeout=60)
    found: dict[str, list[float]] = {"nothing": [], "scrape": []}
    await shell.lua(_WATCH)
    try:
        for what in list(found) * _ROUNDS:
            await shell.lua(_BUSIEST)
            await asyncio.sleep(_PAUSE)
            if what == "scrape":
                await scrape(node.exporter.url)
            await asyncio.sleep(_PAUSE)
            found[what].append(float(await shell.lua(_BUSIEST)))
        await shell.lua(_END)
    finally:
        await shell.close()
    return {what: statistics.median(seconds) for what, seconds in found.items()}
