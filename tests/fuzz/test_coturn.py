"""Made-up input for the parsers of the coturn exporter: log lines, STUN, turnserver.conf, arguments, CLI, endpoint.

Inputs are recorded ones that were changed at random, and random ones; FUZZ is how many each parser gets. The seed is
fixed, so a failure comes again.
"""

from __future__ import annotations

import asyncio
import math
import os
import random
import struct
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from exporters.coturn import endpoint, options
from exporters.coturn.admin_cli import CliError, parse
from exporters.coturn.collector import collect
from exporters.coturn.config import CoturnConfigError, LogPlace, load
from exporters.coturn.endpoint import BuiltInEndpointError
from exporters.coturn.log_follower import LogFollower
from exporters.coturn.log_statistics import LogStatistics
from exporters.coturn.probe import Probe
from exporters.coturn.snapshot import Snapshot
from lab.running.workspace import ROOT
from tests.exporters.coturn.fakes import STATUS
from tests.exporters.coturn.test_log_statistics import ANONYMOUS, BANNER, CALL, NAME, SINCE_4_18, TAG, lines
from toolkit import stun
from toolkit.stun import Attribute, Credentials, MalformedError, Method

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from prometheus_client.core import Metric

COUNT = int(os.environ.get("FUZZ", "300"))
DIGITS = (b"0", b"9" * 10, b"9" * 19, b"9" * 400, b"9" * 5000, b"-1", b"1e999", b"NaN")
PIECES = (b"\n", b"\r", b"\0", b">", b"<", b"=", b" ", b"#", b'"', b"(", b")", b"\xff\xfe", b"session ", *DIGITS)


def changed(rng: random.Random, seeds: Sequence[bytes]) -> bytes:
    """One of the seeds with a few bytes replaced, taken out, repeated or put in."""
    text = bytearray(rng.choice(seeds))
    for _ in range(rng.randrange(5)):
        at = rng.randrange(len(text) + 1)
        until = min(len(text), at + rng.randrange(12))
        text[at:until] = rng.choice((b"", rng.randbytes(3), rng.choice(PIECES), text[at:until] * 2))
    return bytes(text) if rng.random() < 0.95 else rng.randbytes(rng.randrange(200))  # a few are wholly random


def inputs(name: str, seeds: Sequence[bytes]) -> Iterator[bytes]:
    rng = random.Random(name)
    return (changed(rng, seeds) for _ in range(COUNT))


class Registry(CollectorRegistry):
    """One that renders these families."""

    def __init__(self, families: list[Metric]) -> None:
        super().__init__()
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families


def recorded() -> list[bytes]:
    return [
        *lines(CALL),
        *SINCE_4_18.encode().splitlines(),
        *ANONYMOUS.encode().splitlines(),
        *lines(CALL.replace("amy", NAME)),
        *lines(CALL.replace("amy", f"{TAG}-0")),
        BANNER.encode(),
        b"1 ERROR: check_stun_auth: Cannot find credentials of user <1795490982:bob>",
    ]


def test_log_lines_never_raise_and_every_number_stays_finite() -> None:
    statistics = LogStatistics(TAG.encode(), NAME.encode())
    for line in inputs("log", recorded()):
        statistics.feed(line)
    families = list(collect(Snapshot(1, 0, (), run=statistics.run)))
    generate_latest(Registry(families))
    values = [sample.value for family in families for sample in family.samples if family.name != "coturn_quota"]
    assert all(math.isfinite(value) for value in values)


def test_a_whole_log_is_followed_to_its_end(tmp_path: Path) -> None:
    statistics = LogStatistics(TAG.encode(), NAME.encode())
    log = tmp_path / "turn.log"
    log.write_bytes(b"\n".join(inputs("follower", recorded())))
    follower = LogFollower(LogPlace(log, dated=False), lambda: None, statistics.feed)

    async def read() -> bool:
        follower._begin()
        await follower._drain()
        follower.caught_up = True
        return await follower.catch_up()

    assert asyncio.run(read())
    follower.close()


def test_stun_answers_are_read_or_malformed() -> None:
    def answer(kind: int, attributes: list[tuple[int, bytes]]) -> bytes:
        body = b"".join(
            struct.pack("!HH", name, len(value)) + value + bytes(-len(value) % 4) for name, value in attributes
        )
        return stun.HEADER.pack(kind, len(body), stun.COOKIE, bytes(12)) + body

    seeds = [
        answer(0x0103, [(Attribute.XOR_RELAYED_ADDRESS, bytes(8)), (Attribute.SOFTWARE, b"Coturn-4.6.1 'Gorst'")]),
        answer(
            0x0113, [(Attribute.ERROR_CODE, b"\0\0\4\1Unauthorized"), (Attribute.REALM, b"r"), (Attribute.NONCE, b"n")]
        ),
        answer(0x0101, [(Attribute.MESSAGE_INTEGRITY, bytes(20))]),
        stun.encode(Method.ALLOCATE, [])[1],
    ]
    for message in inputs("stun", seeds):
        for credentials in (None, Credentials("user", "password", b"r", b"n")):
            try:
                response = stun.decode(message, credentials)
            except MalformedError:
                continue
            assert 0 <= response.error < 1000
            assert 0 <= response.relay_port < 1 << 16
            assert isinstance(response.software, str)


def test_a_configuration_is_read_or_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "turnserver.conf"
    told: list[str] = []
    seeds = [
        (ROOT / "lab/servers/coturn.section-13.conf").read_bytes(),
        (ROOT / "prometheus/snippets/turnserver.conf").read_bytes(),
        b"relay-ip=::1\nlistening-ip=192.0.2.1%eth0\naux-server=[::1]:1\nprometheus\nprometheus-address=0.0.0.0\nverbose",
        *(f"{name}=1 # x".encode() for name in options.KINDS),
    ]
    for text in inputs("configuration", seeds):
        path.write_bytes(text)
        try:
            config = load(path, [word for word in text.decode("utf-8", "replace").split("=")[:5] if word != "-n"])
        except CoturnConfigError as error:
            told.append(str(error).replace(str(path), ""))
            continue
        for name in dir(config):
            if not name.startswith("_"):
                getattr(config, name)
        Probe(config, dict)
    assert not [text for text in told if "\n" in text]


def test_arguments_are_read() -> None:
    seeds = [b"-c /etc/turnserver.conf -v -p 3478 --min-port=1 --max-port 2", b"-n -vop1 -- -v", b"-l - -X --verbose=0"]
    for words in inputs("arguments", seeds):
        given = words.decode("utf-8", "replace").split(" ")
        assert all(name in options.KINDS for name, _ in options.on_command_line(given))
        options.config_file(given)


def test_the_clis_answer_is_read_or_refused() -> None:
    for answer in inputs("cli", [STATUS, b"", b"  total-current-allocs: 1"]):
        try:
            status = parse(answer)
        except CliError:
            continue
        assert 0 <= status.allocations < 10**10


@pytest.mark.parametrize("page", ["coturn-4.17.1.prom"])
def test_the_endpoints_answer_is_rendered_or_refused(page: str) -> None:
    text = (ROOT / "tests/recorded" / page).read_bytes()
    parts = [b"\n".join(text.splitlines()[at : at + 9]) + b"\n" for at in range(0, len(text.splitlines()), 9)]
    for answer in inputs("endpoint", parts):
        try:
            families = endpoint.parse(answer.decode("utf-8", "replace"))
        except BuiltInEndpointError:
            continue
        generate_latest(Registry(families))
        total = endpoint.total(families, "turn_total_allocations")
        assert total is None or math.isfinite(total)
