"""POST /push with made-up requests: always an answer, never a 500, and nothing of the request in the log."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import string
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.intake import MAX_BODY
from lab.fakes.apns import FakeApns
from lab.fakes.fcm import FakeFcm
from tests.gateway.conftest import IPHONE, SECRET, Caller, Pki, starting
from toolkit.logs import Logfmt

GOOD = {"node": IPHONE, "secret": SECRET, "type": "call", "jid": "bert@commeazy.com"}
TEXT = st.text(st.characters(codec=None), max_size=40)
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    TEXT,
    st.lists(TEXT, max_size=3),
    st.just(SECRET),
    st.just(IPHONE),
)
FIELDS = st.dictionaries(st.sampled_from(["node", "secret", "type", "jid", "x"]), VALUES, max_size=5)
ALMOST = st.builds(lambda fields: {**GOOD, **fields}, FIELDS)
TYPES = st.sampled_from(
    ["application/json", "application/json; charset=utf-16", "application/x-www-form-urlencoded", "text/plain", "*", ""]
)


def encoded(fields: dict[str, Any], kind: str, codec: str) -> bytes:
    if kind == "form":
        return urlencode({name: str(value).encode("utf-8", "surrogatepass") for name, value in fields.items()}).encode()
    return json.dumps(fields).encode(codec)


BODIES = st.one_of(
    st.binary(max_size=300),
    st.builds(
        encoded, ALMOST, st.sampled_from(["form", "json"]), st.sampled_from(["utf-8", "utf-16", "utf-32", "cp037"])
    ),
    st.integers(0, 3 * MAX_BODY).map(lambda size: b'{"a":"' + b"x" * size),
)
HEADERS = st.dictionaries(
    st.sampled_from(["TTL", "Content-Encoding", "Accept", "Expect", "X-Forwarded-For", "Cookie", "Transfer-Encoding"]),
    st.text(string.printable.strip(), max_size=20),
    max_size=3,
)


async def raw(caller: Caller, request: bytes) -> bytes:
    """One request as bytes on a connection of its own, with bytes enough after it; returns the answer's first line."""
    reader, writer = await asyncio.open_connection("127.0.0.1", caller.port)
    writer.write(request + b"\r\n\r\n" + b"x" * 2 * MAX_BODY)
    try:
        async with asyncio.timeout(60):
            return await reader.readline()
    except ConnectionResetError:
        return b""
    finally:
        writer.transport.abort()


def quiet(records: list[logging.LogRecord]) -> None:
    for record in records:
        written = Logfmt().format(record)
        assert SECRET not in written
        assert IPHONE not in written
        assert "Traceback" not in written
        assert record.levelno < logging.ERROR
        written.encode()


Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture
def fuzzed(pki: Pki) -> Iterator[tuple[Caller, Run]]:
    """A gateway on a loop that the synchronous tests of hypothesis can drive."""
    with asyncio.Runner() as runner:

        @contextlib.asynccontextmanager
        async def between_fakes() -> AsyncIterator[Caller]:
            apple, google = FakeApns(pki.server_context("h2"), pki.key), FakeFcm(pki.server_context("h2"))
            await apple.start()
            await google.start()
            async with starting(pki, apple, google) as start:
                yield await start()
            await apple.stop()
            await google.stop()

        manager = between_fakes()
        yield runner.run(manager.__aenter__()), runner.run
        runner.run(manager.__aexit__(None, None, None))


RUNS = settings(max_examples=400)


def test_no_body_or_header_leads_to_a_500_or_a_leak(
    fuzzed: tuple[Caller, Run], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    caller, run = fuzzed

    @RUNS
    @given(BODIES, TYPES, HEADERS)
    def check(body: bytes, kind: str, headers: dict[str, str]) -> None:
        caplog.clear()
        lines = "".join(f"{name}: {value.strip()}\r\n" for name, value in headers.items())
        head = f"POST /push HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{lines}\r\n"
        status = run(raw(caller, head.encode("latin-1") + body)).split()[1]
        assert status in (b"200", b"100", b"400", b"403", b"413", b"415", b"417")
        quiet(caplog.records)

    check()


def test_no_bytes_at_all_lead_to_a_500_or_a_leak(fuzzed: tuple[Caller, Run], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    caller, run = fuzzed
    good = json.dumps(GOOD).encode()
    request = b"POST /push HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(
        good
    )
    request += good

    @RUNS
    @given(st.integers(), st.integers(1, 8))
    def check(seed: int, changes: int) -> None:
        caplog.clear()
        chance = random.Random(seed)
        mutated = bytearray(request)
        for _ in range(changes):
            at = chance.randrange(len(mutated))
            mutated[at : at + chance.randrange(3)] = chance.randbytes(chance.randrange(3))
        line = run(raw(caller, bytes(mutated)))
        assert not line or (line.startswith(b"HTTP/1.") and line.split()[1][:1] in b"1234"), line
        quiet(caplog.records)

    check()
    assert run(caller.push()).outcome == "sent"
