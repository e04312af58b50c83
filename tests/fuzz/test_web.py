"""Made-up input for what every program reads: requests with their headers, and configuration files.

FUZZ is how many each parser gets. The seed is fixed, so a failure comes again.
"""

from __future__ import annotations

import asyncio
import os
import random
from argparse import ArgumentTypeError
from contextlib import suppress
from typing import TYPE_CHECKING

from exporters.certificates import config
from lab.running.workspace import ROOT
from tests.toolkit.fakes import Target
from toolkit.documents import ConfigError
from toolkit.scrape import deadline
from toolkit.values import Address, duration, seconds, url
from toolkit.web import Listener, application, serving
from toolkit.webconfig import WebConfig

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

COUNT = int(os.environ.get("FUZZ", "300"))
SEED = 20261128
WEB = (
    b"tls_server_config:\n  cert_file: a\n  key_file: b\nbasic_auth_users:\n  alice: $2y$10$" + b"a" * 53 + b"\n"
    b"http_server_config:\n  headers:\n    X-Frame-Options: deny\n"
)
REQUEST = (
    b"GET /metrics?name[]=demo_up HTTP/1.1\r\nHost: x\r\nAccept: application/openmetrics-text;version=1.0.0;q=0.5\r\n"
    b"Accept-Encoding: gzip;q=0.5\r\nX-Prometheus-Scrape-Timeout-Seconds: 10\r\nAuthorization: Basic YTpi\r\n"
)


def changed(recorded: bytes, chance: random.Random) -> bytes:
    data = bytearray(recorded)
    for _ in range(chance.randint(1, 6)):
        at, length = chance.randrange(len(data) + 1), chance.choice((1, 1, 2, 8, 100))
        piece = bytes(data[at : at + length])
        data[at : at + length] = chance.choice((b"", piece * 2, chance.randbytes(length), b"9" * length, b"[" * length))
    return bytes(data)


def test_a_configuration_file_is_read_or_refused_with_one_line(tmp_path: Path) -> None:
    chance, file = random.Random(SEED), tmp_path / "file.yml"
    targets = (ROOT / "deploy/certificates.yml").read_bytes()
    for _ in range(COUNT):
        for recorded, load in ((WEB, WebConfig), (targets, config.load)):
            file.write_bytes(changed(recorded, chance))
            try:
                load(file)
            except ConfigError as error:
                assert "\n" not in str(error)  # noqa: PT017 - many inputs, and either outcome is right


def test_a_value_is_read_or_refused() -> None:
    chance = random.Random(SEED)
    for _ in range(COUNT):
        text = changed(b"127.0.0.1:9871 1h30m http://a:1/b [::1]:1"[chance.randrange(40) :], chance).decode("latin-1")
        for read in (Address.parse, duration, seconds, lambda text: url(text, ("http",), "http://a")):
            with suppress(ArgumentTypeError):
                read(text)
        assert 0 < deadline(text) < float("inf")


async def test_a_request_is_answered_or_refused_and_the_next_is_answered(caplog: pytest.LogCaptureFixture) -> None:
    chance = random.Random(SEED)
    site = Listener(application(Target().exporter()), [Address("127.0.0.1", 0)], WebConfig())
    async with serving(site) as (address,):
        port = int(address.rpartition(":")[2])
        for _ in range(COUNT):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(changed(REQUEST, chance) + b"\r\n")
            writer.write_eof()
            with suppress(ConnectionError):
                answer = await reader.read(100)
                assert answer.startswith(b"HTTP/1.") or not answer
                assert b" 500 " not in answer[:20]
            writer.transport.abort()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b"demo_up 1.0" in await reader.read()
        writer.close()
    assert not [record for record in caplog.records if record.exc_info]
