"""A target whose reads a test holds and lets go, and its exporter. As a module it runs as a process to signal."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily

from toolkit import cli, web
from toolkit.scrape import Exporter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from prometheus_client.core import Metric


class Target:
    """A target that counts its reads and answers as the test says."""

    def __init__(self) -> None:
        self.reads = 0
        self.cancelled = 0
        self.reading = asyncio.Event()
        self.answers = asyncio.Event()
        self.answers.set()
        self.error: Exception | None = None

    async def read(self) -> int:
        self.reads += 1
        self.reading.set()
        try:
            await self.answers.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error:
            raise self.error
        return self.reads

    def exporter(self) -> Exporter[int]:
        return Exporter(
            name="demo",
            title="Demo <exporter> & more",
            read=self.read,
            collect=collect,
            reasons=("refused", "protocol"),
            up_help="Whether demo answered.",
        )


def collect(snapshot: int | None) -> Iterable[Metric]:
    yield GaugeMetricFamily("demo_always", "Holds without the target.", 1)
    if snapshot is not None:
        yield GaugeMetricFamily("demo_reads", "Reads so far.", snapshot)


@asynccontextmanager
async def process(*flags: str, files: int | None = None) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run this module as an exporter, with so many open files at most."""
    limited = ("prlimit", f"--nofile={files}") if files else ()
    started = await asyncio.create_subprocess_exec(
        *(*limited, sys.executable, "-m", "tests.toolkit.fakes", *flags),
        stdin=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield started
    finally:
        with contextlib.suppress(ProcessLookupError):
            started.kill()
        await started.wait()


async def listening(started: asyncio.subprocess.Process) -> str:
    """Wait until the process listens, and give its URL."""
    found = re.search(r"url=(\S+)", await line_with(started, "msg=listening"))
    assert found
    return found[1]


async def line_with(started: asyncio.subprocess.Process, word: str) -> str:
    """Read standard error up to a line with the word."""
    assert started.stderr
    async for line in started.stderr:
        if word in line.decode():
            return line.decode()
    raise AssertionError(f"standard error ended before a line with {word!r}")


async def _read_when_told() -> int:
    """Log that a read began, then wait for a line on standard input."""
    logging.getLogger("demo").info("reading")
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.readline()
    return 1


if __name__ == "__main__":
    sys.exit(
        web.run(
            Exporter("demo", "Demo exporter", _read_when_told, collect, (), "Whether demo answered."),
            cli.parser("demo-exporter", "A demo.", ":0").parse_args(),
        )
    )
