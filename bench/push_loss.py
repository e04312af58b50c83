"""What becomes of pushes while a provider misbehaves: lost, late, sent twice. One command, some two minutes.

`python -m bench.push_loss` runs the gateway of this tree and writes docs/push-loss-report.md, beside the figures of the
gateway before (bench/push_loss_before.json). `python -m bench.push_loss --tree DIRECTORY --save FILE` measures the
gateway of another tree: the figures before were made with a checkout of 5e3087d. `--only deaf 503-25-100` measures
some cells (fault, or 503-SHARE-RATE), and needs `--save`.

The truth is what the providers accepted, by token. Random answers are seeded.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import ssl
import statistics
import sys
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp

from bench.push_loss_report import FAULTS, Figures, report
from gateway import credentials
from lab.fakes import apns, fcm
from lab.fakes.http2 import MAX_CONCURRENT_STREAMS
from lab.running.server import Workspace, ending_with_us
from lab.servers.gateway import SECRET, PushGateway

if TYPE_CHECKING:
    from lab.fakes.http2 import Request

BEFORE = Path(__file__).with_name("push_loss_before.json")
REPORT = Path(__file__).parent.parent / "docs/push-loss-report.md"
SHARES = (5, 25, 50, 75, 95)  # percent of the answers that are 503
RATES = {1: 10, 10: 50, 100: 200}  # pushes a second: pushes

# The gateway with tokens made here: making them costs each start seconds of CPU, and nothing here is about that.
PROGRAM = """
import json, os, sys
from gateway import tokens
made = json.loads(os.environ["TOKENS"])
async def mint(arguments):
    return tokens.Minted(**made[arguments[0]]), False, ""
tokens.mint = mint
from gateway.__main__ import main
sys.exit(main())
"""
AT_ONCE = 3  # cells at a time: this process is callers and providers of all, and must not be what is slow
KINDS = {"calls to iPhones": "voip", "calls to Android": "fcm", "messages": "fcm"}


class Peers:
    """APNs and FCM in this process, on ports of their own, with one fault."""

    def __init__(self, lab: Workspace, name: str, fault: str, share: int) -> None:
        chain, key = lab.certificate("localhost")

        def context(protocol: str) -> ssl.SSLContext:
            made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            made.load_cert_chain(chain, key)
            made.set_alpn_protocols([protocol])
            return made

        directory = lab.directory / name
        directory.mkdir()
        self.key_path, self.account_path = directory / "AuthKey.p8", directory / "account.json"
        self.key_path.write_text(apns.make_key())
        self.key_path.chmod(0o600)
        self.apns = apns.FakeApns(context("h2"), self.key_path.read_text())
        self.fcm = fcm.FakeFcm(context("h2"))
        self.accepted: dict[str, list[float]] = {}
        self.requests: Counter[str] = Counter()
        self._fault, self._share = fault, share
        self._chance = random.Random(f"{fault} {share}")  # noqa: S311 - chance, not a secret
        self._began = False
        self.apns.answer = lambda request: self._answer(
            request, request.headers[":path"].removeprefix("/3/device/"), apns.accept, "ServiceUnavailable"
        )
        self.fcm.answer = lambda request: self._answer(
            request, json.loads(request.body)["message"]["token"], fcm.accept, "UNAVAILABLE"
        )

    async def start(self) -> None:
        """Listen."""
        await self.apns.start()
        await self.fcm.start()
        self.apns_port, self.fcm_port = self.apns.port, self.fcm.port

    async def stop(self) -> None:
        """End."""
        await self.apns.stop()
        await self.fcm.stop()

    async def begin(self) -> None:
        """Misbehave from now on."""
        self._began = True
        self._first = {*self.apns.live, *self.fcm.live}
        if self._fault == "roomless":
            for connection in self._first:
                connection.set(MAX_CONCURRENT_STREAMS, 0)
        while self._fault == "dying":
            await asyncio.sleep(0.5)
            for connection in self.apns.live + self.fcm.live:
                connection.kill()

    def _answer(self, request: Request, node: str, accept: object, word: str) -> None:
        assert callable(accept)
        self.requests[node] += 1
        if self._began and self._fault == "deaf" and request.connection in self._first:
            return
        if self._began and self._chance.random() * 100 < self._share:
            (apns if word == "ServiceUnavailable" else fcm).refuse(request, 503, word)
            return
        self.accepted.setdefault(node, []).append(time.monotonic())
        if self._fault == "dying":  # some are under way when the connection is cut
            asyncio.get_running_loop().call_later(self._chance.random() * 0.1, accept, request)
        else:
            accept(request)


async def run(lab: Workspace, tree: str, fault: str, share: int, rate: int) -> list[Figures]:
    """Measure one gateway with one fault at one rate, all kinds of pushes at once."""
    name = f"{fault}-{share}-{rate}"
    peers = Peers(lab, f"peers-{name}", fault, share)
    await peers.start()
    gateway = PushGateway(lab, peers, name, {"RATE_LIMIT": "0", "LOG_LEVEL": "error"})  # type: ignore[arg-type]  # it has what is used
    now = int(time.time())
    fcm_token = {"token": "ya29.x", "issued": now, "expires": now + 3600, "key": "1", "project": fcm.PROJECT}
    made = {"apns": credentials.apns(str(peers.key_path), apns.KEY_ID, apns.TEAM_ID), "fcm": fcm_token}
    environment = {**os.environ, **gateway.environment(), "TOKENS": json.dumps(made)}
    command = (*ending_with_us(), sys.executable, "-c", PROGRAM)
    process = await asyncio.create_subprocess_exec(*command, cwd=tree, env=environment)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        while not await _ready(session, gateway):
            await asyncio.sleep(0.1)
        fault_of_peers = asyncio.create_task(peers.begin())
        halting = asyncio.create_task(_halt(process)) if fault == "halting" else None
        await asyncio.sleep(0.2)
        found = await asyncio.gather(
            *(_push(session, gateway, peers, kind, rate, Figures(fault, share, rate, kind, *[0] * 7)) for kind in KINDS)
        )
        fault_of_peers.cancel()
        if halting:
            halting.cancel()
    process.kill()
    await process.wait()
    await peers.stop()
    return list(found)


async def _halt(process: asyncio.subprocess.Process) -> None:
    chance = random.Random("halting")  # noqa: S311 - chance, not a secret
    while True:
        await asyncio.sleep(chance.uniform(0.1, 1.0))
        process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(chance.uniform(0.5, 3.0))
        process.send_signal(signal.SIGCONT)


async def _ready(session: aiohttp.ClientSession, gateway: PushGateway) -> bool:
    """Whether both handlers can send."""
    try:
        async with session.get(f"{gateway.url}/health") as answer:
            return "unavailable" not in (await answer.json()).values()
    except aiohttp.ClientConnectionError:
        return False


async def _push(  # noqa: PLR0913, PLR0917 - what a push is made of
    session: aiohttp.ClientSession, gateway: PushGateway, peers: Peers, kind: str, rate: int, empty: Figures
) -> Figures:
    count = RATES[rate]
    digits = 64 if KINDS[kind] == "voip" else 30
    nodes = [f"{number:0{digits}x}" for number in range(count)]
    if KINDS[kind] == "fcm":
        nodes = [f"{kind[:5]}:{node}" for node in nodes]
    asked: dict[str, float] = {}
    outcomes: dict[str, str | None] = {}

    async def one(number: int, node: str) -> None:
        await asyncio.sleep(number / rate)
        asked[node] = time.monotonic()
        body = {"node": node, "secret": SECRET, "type": "message" if kind == "messages" else "call", "jid": "x@y"}
        outcomes[node] = "failed"
        with contextlib.suppress(aiohttp.ClientConnectionError):  # a machine without a free core may take too long
            async with session.post(f"{gateway.url}/push", json=body) as answer:
                outcomes[node] = answer.headers.get("Push-Outcome")

    await asyncio.gather(*(one(number, node) for number, node in enumerate(nodes)))
    delays = [1000 * (peers.accepted[node][0] - asked[node]) for node in nodes if node in peers.accepted]
    return Figures(
        **{
            **asdict(empty),
            "pushes": count,
            "lost": count - len(delays),
            "doubled": sum(len(peers.accepted.get(node, ())) > 1 for node in nodes),
            "p50": round(statistics.median(delays), 1) if delays else 0.0,
            "slowest": round(max(delays), 1) if delays else 0.0,
            "requests": sum(peers.requests[node] for node in nodes),
            # A push that was accepted may have another outcome only if nobody could know: "failed".
            "untrue": sum(
                (outcomes[node] == "sent") != (node in peers.accepted) and outcomes[node] != "failed" for node in nodes
            ),
        }
    )


async def measure(tree: str, only: list[str] | None) -> list[Figures]:
    """Run everything, or only some cells; several gateways at a time."""
    jobs = {f"503-{share}-{rate}": ("503", share, rate) for rate in (100, 1) for share in reversed(SHARES)}
    jobs |= {fault: (fault, 0, 10) for fault in FAULTS}
    places = asyncio.Semaphore(AT_ONCE)

    async def in_turn(job: tuple[str, int, int]) -> list[Figures]:
        async with places:
            return await run(lab, tree, *job)

    with Workspace() as lab:
        results = await asyncio.gather(*(in_turn(job) for name, job in jobs.items() if not only or name in only))
    order = ["503", *FAULTS]
    found = [line for lines in results for line in lines]
    kinds = list(KINDS)
    return sorted(found, key=lambda line: (order.index(line.fault), line.rate, kinds.index(line.kind), line.share))


def main() -> int:
    """Measure, and write the report or the figures."""
    parser = argparse.ArgumentParser(prog="bench.push_loss")
    parser.add_argument("--tree", default=str(Path(__file__).parent.parent), help="whose gateway to run")
    parser.add_argument("--save", type=Path, help="write the figures to this file instead of the report")
    parser.add_argument("--only", nargs="+", metavar="CELL", help="measure these cells; with --save")
    args = parser.parse_args()
    if args.only and not args.save:
        parser.error("--only needs --save: the report is about all cells")
    found = asyncio.run(measure(str(Path(args.tree).resolve()), args.only))
    if args.save:
        args.save.write_text(json.dumps([asdict(line) for line in found], indent=0) + "\n")
    else:
        before = [Figures(**line) for line in json.loads(BEFORE.read_text())]
        REPORT.write_text(report(before, found))
        print(f"written: {REPORT}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
