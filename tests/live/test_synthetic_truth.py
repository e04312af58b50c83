"""What the synthetic users say they saw is what passed on the wire, by taps that know nothing of their code."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from exporters.synthetic.names import EDGES
from lab.scraping import ScrapedPage, scrape
from lab.servers.exporters import QUICK, SyntheticExporter
from lab.stack import Lab
from lab.users.accounts import ask
from tests.live.prosody import QUICK as PROSODY_QUICK
from tests.live.wiretap import Seen, UdpTap, websocket_tap

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

LOSE_EVERY = 10
HOLD = 0.3  # seconds on the way of each message: more than what a busy machine adds, and above the edge of 0.25
NODES = ("prosody1", "prosody2")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        for node in lab.nodes:
            node.prosody.config = PROSODY_QUICK
        lab.start(*(node.prosody for node in lab.nodes), lab.coturn)
        yield lab


@pytest.fixture
async def watched(lab: Lab) -> AsyncIterator[tuple[SyntheticExporter, Seen, UdpTap]]:
    """Run the exporter with a tap on each of its doors, and on its coturn's UDP port."""
    seen = Seen()
    async with AsyncExitStack() as stack:
        if os.geteuid() == 0:  # the exporter inherits it: a machine that others keep busy must not be what is measured
            os.setpriority(os.PRIO_PROCESS, 0, -15)
            stack.callback(os.setpriority, os.PRIO_PROCESS, 0, 0)
        prosodies = [node.prosody for node in lab.nodes]
        ports = [await stack.enter_async_context(websocket_tap(prosody.http_port, seen, HOLD)) for prosody in prosodies]
        udp, tap = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: UdpTap(lab.coturn.port, LOSE_EVERY), local_addr=("127.0.0.1", 0)
        )
        stack.callback(udp.close)
        exporter = SyntheticExporter(
            prosodies,
            lab.haproxy,
            lab.coturn,
            dict(QUICK) | {"force_quit": "10s", "vanish": "12s"},
            doors={
                prosody.name: f"ws://127.0.0.1:{port}/xmpp-websocket"
                for prosody, port in zip(prosodies, ports, strict=True)
            },
            relay_port=udp.get_extra_info("sockname")[1],
        )
        exporter.wishes["cross_node"] = "not_expected"  # as it is with accounts in files
        exporter.start()
        try:
            yield exporter, seen, tap
        finally:
            exporter.kill()


class Ledger:
    """How long each message took, in seconds, by the node of its sender and receiver: by what a histogram grew."""

    def __init__(self) -> None:
        self.told: dict[str, list[float]] = {node: [] for node in NODES}

    def look(self, page: ScrapedPage) -> None:
        """Note the messages since the last look; if there was more than one, each has their average."""
        for node, told in self.told.items():
            labels = {"journey": "message", "from": node, "to": node}
            new = int(page("synthetic_journey_seconds_count", **labels)) - len(told)
            if new:
                grown = page("synthetic_journey_seconds_sum", **labels) - sum(told)
                told.extend([grown / new] * new)


async def until(exporter: SyntheticExporter, ledger: Ledger, journey: str, count: int, **labels: str) -> ScrapedPage:
    """Return the page once a journey went well so often."""
    while True:
        page = await scrape(exporter.url)
        ledger.look(page)
        if page("synthetic_journeys_total", journey=journey, result="ok", **labels) >= count:
            return page
        await asyncio.sleep(0.2)


def mean(page: ScrapedPage, journey: str, **labels: str) -> float:
    """Return the average of a journey's histogram, in seconds."""
    total = page("synthetic_journey_seconds_sum", journey=journey, **labels)
    return total / page("synthetic_journey_seconds_count", journey=journey, **labels)


def median(page: ScrapedPage, journey: str) -> tuple[float, float]:
    """Return the edges of the bucket that holds the median of a journey, in seconds."""
    lower, half = 0.0, page("synthetic_journey_seconds_count", journey=journey) / 2
    for edge in EDGES:
        if page("synthetic_journey_seconds_bucket", journey=journey, le=str(float(edge))) >= half:
            return lower, edge
        lower = edge
    raise AssertionError("the median is above every edge")


async def test_every_histogram_says_what_passed_on_the_wire(
    watched: tuple[SyntheticExporter, Seen, UdpTap],
) -> None:
    exporter, seen, tap = watched
    ledger = Ledger()
    for journey, count in {"presence_vanish": 2, "presence_force_quit": 2, "turn_tls": 1, "message": 40}.items():
        page = await until(exporter, ledger, journey, count)

    # Messages: as many, and each as long, within 5 ms. What this machine adds to a few of them is no matter.
    off = []
    for node, told in ledger.told.items():
        took = seen.took(f"synthetic-{node}")
        assert 0 <= len(took) - len(told) <= 1, "one may pass between the two looks"
        off += [one - wire for one, wire in zip(told, took, strict=False)]
    assert page("synthetic_journey_seconds_bucket", journey="message", le="0.25") == 0, "none was as fast as that"
    assert 0 < statistics.median(off) < 0.005, "the tap sees almost all of the way"
    lower, upper = median(page, "message")
    assert lower <= statistics.median(one for told in ledger.told.values() for one in told) <= upper
    assert page("synthetic_journeys_total", journey="message", result="ok") == sum(map(len, ledger.told.values()))

    # Presence: when a contact saw it, within a second.
    for journey, took in {
        "presence_online": seen.appeared("available"),
        "presence_away": seen.appeared("away"),
        "presence_force_quit": seen.gone(silent=False),
        "presence_vanish": seen.gone(silent=True),
    }.items():
        assert abs(statistics.mean(took) - mean(page, journey)) < 1, journey
    assert mean(page, "presence_force_quit") > 2, "the hibernation"
    assert mean(page, "presence_vanish") > 4, "a read timeout, and the hibernation"

    # Media: as many packets lost as the tap lost.
    packets = page.by("synthetic_turn_packets_total", "result")
    udp = {r: page("synthetic_turn_packets_total", transport="udp", result=r) for r in ("sent", "returned", "lost")}
    ended = tap.runs[: int(page("synthetic_journeys_total", journey="turn_udp", result="ok"))]
    sent, back = map(sum, zip(*ended, strict=True))
    assert udp["sent"] == sent == 100 * len(ended)
    assert abs(udp["lost"] - (sent - back)) / sent < 0.01
    assert udp["lost"] >= udp["sent"] / LOSE_EVERY
    assert packets["sent"] == packets["returned"] + packets["lost"]
    assert page("synthetic_turn_packets_total", transport="tcp", result="lost") == 0

    # Logins: the stages are the whole.
    stages = page("synthetic_login_stage_seconds_sum")
    assert stages == pytest.approx(page("synthetic_journey_seconds_sum", journey="login"))


async def test_it_leaves_nothing_behind(lab: Lab, watched: tuple[SyntheticExporter, Seen, UdpTap]) -> None:
    exporter, _, _ = watched

    def stored() -> dict[str, bytes]:
        folder = lab.prosody.directory / "commeazy%2ecom"
        return {
            str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob("*.dat"))
            # mod_smacks itself notes the last ten sessions of an account that broke, for whatever reason.
            if path.parent.name not in {"accounts", "account_activity", "smacks_h"}
        }

    before = stored()
    assert any("roster" in name for name in before)
    for journey in ("presence_force_quit", "resume", "presence_away", "message", "login"):
        await until(exporter, Ledger(), journey, 1, **{"from": "prosody1"})
    assert stored() == before
    exporter.stop()
    deadline = time.monotonic() + 120
    while True:  # the last force-quit's session hibernates for two seconds
        left = await asyncio.to_thread(_sessions, lab)
        if not left:
            break
        assert time.monotonic() < deadline, f"sessions left: {left}"


def _sessions(lab: Lab) -> str:
    command = (
        "> local names = {}; for jid in pairs(prosody.full_sessions) do names[#names+1] = jid end; "
        "return true, table.concat(names, ' ')"
    )
    return asyncio.run(ask(lab.prosody.admin_socket, command)).removeprefix("OK: ").strip()
