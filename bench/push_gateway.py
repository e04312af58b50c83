"""What one push gateway on one core can do, its delays and its memory, next to a bare aiohttp handler and to Node.

Node is the specification's design (bench/push_node.js). It is left out where node and npm are not installed.

`python -m bench.push_gateway soak [PUSHES]` instead sends 200,000 pushes, looks whether memory grows, and sends one
call after ten quiet minutes. It ends with 1 if the gateway needs more than MEMORY_MOST.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import time
from dataclasses import dataclass

import psutil

from bench.push_node import NodeGateway
from lab.fakes.apns import BUNDLE_ID
from lab.fakes.providers import Providers
from lab.running.server import Server, Workspace, tcp_accepts
from lab.servers.gateway import SECRET, PushGateway

CALLERS = 100  # connections of Prosody's, each with one push under way
SECONDS = 4.0  # of one round, or longer, until there are
LEAST = 1000  # requests: fewer say nothing, as the CPU time of a process comes in hundredths of a second
ROUNDS = 3
PROVIDER_DELAY = 0.05  # seconds, at half load
SOAK = 200_000  # pushes
MEMORY_MOST = 60e6  # bytes
QUIET = 600.0  # seconds
NODE = {"call": "0f1e2d3c4b5a6978" * 4, "message": "dGVzdA:APA91bF-token_of_an_android_phone" * 3}
_END = b"\r\n\r\nOK"


def request(kind: str) -> bytes:
    """What Prosody's bridge sends."""
    body = json.dumps({"node": NODE[kind], "secret": SECRET, "type": kind, "jid": "bert@commeazy.com"}).encode()
    head = f"POST /push HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Caller(asyncio.Protocol):
    """A connection of Prosody's: one push after the other, or one when told to."""

    def __init__(self, text: bytes, delays: list[float], *, busy: bool) -> None:
        self._text = text
        self._delays = delays
        self._busy = busy
        self._began = 0.0
        self.answered = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        if self._busy:
            self.push()

    def push(self) -> None:
        """Send one."""
        self.answered.clear()
        self._began = time.perf_counter()
        self.transport.write(self._text)

    def data_received(self, data: bytes) -> None:
        """Note the delay."""
        if not data.endswith(_END):
            raise RuntimeError(f"not an answer to a push: {data!r}")
        self._delays.append(time.perf_counter() - self._began)
        self.answered.set()
        if self._busy:
            self.push()


@dataclass
class Round:
    """One round: requests a second, the server's CPU microseconds for one, and the delays in seconds."""

    rate: float
    cpu: float
    delays: list[float]


async def full_load(port: int, pid: int, kind: str) -> Round:
    """As many as it can take, from CALLERS connections."""
    delays: list[float] = []
    process = psutil.Process(pid)
    loop = asyncio.get_running_loop()
    text = request(kind)
    callers = [
        (await loop.create_connection(lambda: Caller(text, delays, busy=True), "127.0.0.1", port))[1]
        for _ in range(CALLERS)
    ]
    await asyncio.sleep(0.5)
    delays.clear()
    before, began = process.cpu_times(), time.perf_counter()
    while len(delays) < LEAST or time.perf_counter() - began < SECONDS:
        await asyncio.sleep(0.01)
    count, took, after = len(delays), time.perf_counter() - began, process.cpu_times()
    for caller in callers:
        caller.transport.abort()
    cpu = after.user + after.system - before.user - before.system
    return Round(count / took, 1e6 * cpu / count, delays[:count])


async def steady_load(port: int, rate: float) -> list[float]:
    """So many calls a second, at even distances, whatever the answers take; returns the delays."""
    delays: list[float] = []
    loop = asyncio.get_running_loop()
    text = request("call")
    callers = [
        (await loop.create_connection(lambda: Caller(text, delays, busy=False), "127.0.0.1", port))[1]
        for _ in range(int(rate * PROVIDER_DELAY * 2) + 10)
    ]
    for caller in callers:
        caller.answered.set()
    began, sent = loop.time(), 0
    while (now := loop.time() - began) < SECONDS:
        while sent < now * rate:
            caller = callers[sent % len(callers)]
            await caller.answered.wait()
            caller.push()
            sent += 1
        await asyncio.sleep(0.001)
    await asyncio.gather(*(caller.answered.wait() for caller in callers))
    for caller in callers:
        caller.transport.abort()
    return delays


class QuickProviders(Providers):
    """The bench's own fakes, on the same ports and keys; they answer after `delay` seconds."""

    delay = 0.0

    def __init__(self, lab: Workspace) -> None:
        super().__init__(lab)
        self.http1_port = lab.ports.reserve()

    def command(self) -> list[str]:
        """Run them on the second core."""
        chain, key = self.lab.certificate("localhost")
        ports = (self.token_port, self.http1_port, self.apns_port, self.fcm_port)
        arguments = [str(self.delay), str(chain), str(key), str(self.account_path), *map(str, ports)]
        return ["taskset", "-c", _OTHER, sys.executable, "-m", "bench.push_fakes", *arguments]


class PinnedGateway(PushGateway):
    """On one core."""

    def command(self) -> list[str]:
        """Run the program."""
        return ["taskset", "-c", "0", *super().command()]


class Bare(Server):
    """The handler that pushes nothing, on the same core."""

    def __init__(self, lab: Workspace) -> None:
        super().__init__(lab, "bare")
        self.port = lab.ports.reserve()

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        """Run it."""
        return ["taskset", "-c", "0", sys.executable, "-m", "bench.bare", str(self.port)]

    def is_ready(self) -> bool:
        """It listens."""
        return tcp_accepts(self.port)


_OTHER = "1" if (os.cpu_count() or 1) > 1 else "0"


def memory(pid: int) -> str:
    """Resident and unique memory, in the specification's megabytes."""
    info = psutil.Process(pid).memory_full_info()
    return f"{info.rss / 1e6:.1f} MB resident ({info.rss / 2**20:.1f} MiB), {info.uss / 1e6:.1f} MB its own"


def percentiles(delays: list[float]) -> tuple[float, float]:
    """P50 and P99 in milliseconds."""
    points = statistics.quantiles(delays, n=100)
    return 1000 * points[49], 1000 * points[98]


def main() -> int:
    """Print the figures."""
    os.sched_setaffinity(0, {int(_OTHER)})
    with Workspace() as lab:
        providers = QuickProviders(lab)
        gateway = PinnedGateway(lab, providers, settings={"RATE_LIMIT": "0"})
        bare = Bare(lab)
        for server in (providers, gateway, bare):
            server.start()
        asyncio.run(asyncio.sleep(2))
        if sys.argv[1:2] == ["soak"]:
            return asyncio.run(soak(gateway, int(sys.argv[2]) if sys.argv[2:] else SOAK))
        print(f"one gateway on one core, {CALLERS} callers, LOG_LEVEL=info, app {BUNDLE_ID}")
        print(f"idle:   {memory(gateway.pid)}")
        node = NodeGateway(lab, providers, providers.http1_port)
        absent = node.install()
        if absent:
            print(f"node is left out: {absent}")
        else:
            node.start()
            print(f"node, idle: {memory(node.pid)}")
        rate = full_loads(bare, gateway, None if absent else node) / 2
        print(f"loaded: {memory(gateway.pid)}")
        if not absent:
            print(f"node, loaded: {memory(node.pid)}; {node.failed()} of its pushes failed")
            node.stop()
        providers.stop()
        providers.delay = PROVIDER_DELAY
        providers.start()
        asyncio.run(asyncio.sleep(5))
        p50, p99 = percentiles(asyncio.run(steady_load(gateway.port, rate)))
        own = 1000 * PROVIDER_DELAY
        print(f"half load, {rate:.0f} calls/s, provider {own:.0f} ms: P50 +{p50 - own:.1f} ms, P99 +{p99 - own:.1f} ms")
        print(f"loaded: {memory(gateway.pid)}")
    return 0


def full_loads(bare: Bare, gateway: PinnedGateway, node: NodeGateway | None) -> float:
    """Load each server in turn, several rounds, and print the medians; returns the calls a second of our gateway."""
    servers = {"bare": (bare.port, bare.pid, "call")}
    for kind in ("call", "message"):
        servers[kind] = (gateway.port, gateway.pid, kind)
        if node is not None:
            servers[f"node {kind}"] = (node.port, node.pid, kind)
    rounds: dict[str, list[Round]] = {name: [] for name in servers}
    for _ in range(ROUNDS):
        for name, server in servers.items():
            rounds[name].append(asyncio.run(full_load(*server)))

    def times(name: str, other: str) -> float:
        return statistics.median(one.rate / base.rate for one, base in zip(rounds[name], rounds[other], strict=True))

    middle = {name: statistics.median(one.rate for one in some) for name, some in rounds.items()}
    work = {name: statistics.median(one.cpu for one in some) for name, some in rounds.items()}
    for name, some in rounds.items():
        p50, p99 = percentiles([delay for one in some for delay in one.delays])
        print(
            f"{name:12} {middle[name]:8.0f}/s   {times(name, 'bare'):6.1%} of bare   P50 {p50:6.1f} ms   "
            f"P99 {p99:6.1f} ms   {work[name]:6.1f} us of CPU each ({work[name] / work['bare']:.1f} times bare)"
        )
    for kind in ("call", "message") if node is not None else ():
        cpu = work[f"node {kind}"] / work[kind]
        print(
            f"{kind}: {times(kind, f'node {kind}'):.2f} times Node's rate; Node takes {cpu:.2f} times the CPU for one"
        )
    return middle["call"]


async def soak(gateway: PushGateway, pushes: int) -> int:
    """Print memory over so many pushes, and a call after a long silence; returns 1 if memory is too much, else 0."""
    loop = asyncio.get_running_loop()
    delays: list[float] = []
    for kind in ("call", "message"):
        text = request(kind)
        for part in range(5):
            callers = [
                (await loop.create_connection(lambda: Caller(text, delays, busy=True), "127.0.0.1", gateway.port))[1]  # noqa: B023 - used at once
                for _ in range(CALLERS)
            ]
            done = len(delays)
            while len(delays) - done < pushes / 10:
                await asyncio.sleep(0.01)
            for caller in callers:
                caller.transport.abort()
            print(f"{len(delays):8} pushes ({kind}, part {part + 1}): {memory(gateway.pid)}", flush=True)
    single: list[float] = []
    _, caller = await loop.create_connection(
        lambda: Caller(request("call"), single, busy=False), "127.0.0.1", gateway.port
    )
    for _ in range(50):
        caller.push()
        await caller.answered.wait()
        await asyncio.sleep(0.02)
    caller.transport.abort()
    print(
        f"one call, then the next: P50 {percentiles(single)[0]:.2f} ms, slowest {1000 * max(single):.2f} ms", flush=True
    )
    await asyncio.sleep(QUIET)
    _, caller = await loop.create_connection(
        lambda: Caller(request("call"), single, busy=False), "127.0.0.1", gateway.port
    )
    caller.push()
    await caller.answered.wait()
    print(f"one call after {QUIET:.0f} quiet seconds: {1000 * single[-1]:.2f} ms")
    used = psutil.Process(gateway.pid).memory_info().rss
    print(f"memory at the end: {used / 1e6:.1f} MB (at most {MEMORY_MOST / 1e6:.0f})")
    return int(used > MEMORY_MOST)


if __name__ == "__main__":
    sys.exit(main())
