"""When targets are probed, and what a scrape shows between two probes."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from aiohttp import ClientSession

from exporters.certificates.__main__ import _exporter, _parser, main
from exporters.certificates.client import CertificateClient
from exporters.certificates.prober import _LEAST_PAUSE, Prober
from exporters.certificates.snapshot import Chain, Observation
from lab.servers.pki import Authority
from tests.exporters.certificates.fakes import HOST, server, silence, tls
from tests.exporters.certificates.test_collector import LEAF
from toolkit import web
from toolkit.documents import ConfigError
from toolkit.scrape import TargetError
from toolkit.values import Address
from toolkit.webconfig import WebConfig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from exporters.certificates.config import Target


@pytest.fixture(autouse=True)
def log_of_the_process() -> Iterator[None]:
    """Give the root logger back as it was: a program sets it up for itself."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


class Scripted(CertificateClient):
    """Does what the test says instead of looking at a target."""

    def __init__(self) -> None:
        super().__init__()
        self.error: Exception | None = None
        self.goes_on = asyncio.Event()
        self.goes_on.set()
        self.calls: list[str] = []
        self.under_way = self.most_under_way = 0

    async def observe(self, target: Target, last: Observation | None) -> Observation:  # noqa: ARG002 - a CertificateClient's
        self.calls.append(target.name)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await self.goes_on.wait()
            await asyncio.sleep(0)
        finally:
            self.under_way -= 1
        if self.error:
            raise self.error
        return Observation({"": Chain((LEAF,), (), LEAF)})


def write(tmp_path: Path, **targets: str) -> Path:
    path = tmp_path / "certificates.yml"
    entries = [f"  - {{name: {name}, kind: tls, address: '{address}'}}\n" for name, address in targets.items()]
    path.write_text("targets:\n" + "".join(entries))
    return path


def prober(tmp_path: Path, client: CertificateClient, *, interval: float = 3600, **targets: str) -> Prober:
    return Prober(write(tmp_path, **targets), client, interval=interval, concurrency=10)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110 - lets the prober run; there is no event to wait for
            await asyncio.sleep(0)


async def test_every_target_is_probed_again_and_again(tmp_path: Path) -> None:
    client = Scripted()
    async with prober(tmp_path, client, interval=0.01, a="a:1", b="b:1").running():
        await until(lambda: min(client.calls.count(name) for name in "ab") >= 5)
    assert client.under_way == 0


async def test_no_more_probes_are_under_way_than_allowed(tmp_path: Path) -> None:
    client = Scripted()
    targets = {f"t{number}": "a:1" for number in range(20)}
    async with Prober(write(tmp_path, **targets), client, interval=3600, concurrency=3).running():
        await until(lambda: len(client.calls) >= 20)
    assert client.most_under_way == 3


async def test_a_probe_that_hangs_delays_no_scrape(tmp_path: Path) -> None:
    client = Scripted()
    client.goes_on.clear()
    probing = prober(tmp_path, client, a="a:1")
    async with probing.running():
        await until(lambda: bool(client.calls))
        assert (await probing.read()).standings == ()
        (late,) = (await probing.probe("a", 0.01)).standings
    assert late.failure == "timeout"


async def test_requests_for_one_target_share_one_probe(tmp_path: Path) -> None:
    client = Scripted()
    probing = prober(tmp_path, client, a="a:1")
    await asyncio.gather(*(probing.probe("a", 5) for _ in range(10)))
    assert client.calls == ["a"]


async def test_a_failure_keeps_what_was_seen(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    client = Scripted()
    probing = prober(tmp_path, client, a="a:1")
    (good,) = (await probing.probe("a", 5)).standings
    client.error = TargetError("refused", "nobody there")
    for _ in range(3):
        (bad,) = (await probing.probe("a", 5)).standings

    assert (good.failure, bad.failure) == (None, "refused")
    assert bad.observation is good.observation
    assert bad.probed_at >= good.probed_at
    assert [record.getMessage() for record in caplog.records] == ["probe failed: nobody there"]


async def test_a_bug_is_a_failed_probe_and_the_schedule_goes_on(tmp_path: Path) -> None:
    client = Scripted()
    client.error = RuntimeError("a bug")
    probing = prober(tmp_path, client, interval=0.01, a="a:1")
    async with probing.running():
        await until(lambda: len(client.calls) >= 3)
        (standing,) = (await probing.read()).standings
    assert standing.failure == "internal"


async def test_a_reload_reads_the_configuration_again(tmp_path: Path) -> None:
    client = Scripted()
    probing = prober(tmp_path, client, stays="a:1", changes="a:1", goes="a:1")
    async with probing.running():
        await until(lambda: len(probing._standings) == 3)
        client.goes_on.clear()
        write(tmp_path, stays="a:1", changes="b:2", comes="a:1")
        probing.reload()
        await until(lambda: len(client.calls) >= 5)
        snapshot = await probing.read()
        assert [standing.target for standing in snapshot.standings] == ["stays"]
        assert snapshot.targets["tls"] == 3
        assert sorted(client.calls[3:]) == ["changes", "comes"]
        with pytest.raises(KeyError):
            await probing.probe("goes", 1)


async def test_a_wrong_file_keeps_the_old_configuration(tmp_path: Path) -> None:
    probing = prober(tmp_path, Scripted(), a="a:1")
    (tmp_path / "certificates.yml").write_text("targets:\n  - name: a\n    kind: x\n")
    with pytest.raises(ConfigError, match="kind is 'x'"):
        probing.reload()
    assert (await probing.read()).targets["tls"] == 1

    write(tmp_path, a="a:1", b="b:1")
    probing.reload()
    assert (await probing.read()).targets["tls"] == 2
    await asyncio.gather(*probing._flights.values())
    for task in probing._schedules.values():
        task.cancel()


@asynccontextmanager
async def exporter(tmp_path: Path, **targets: str) -> AsyncIterator[str]:
    args = _parser().parse_args([f"--config.file={write(tmp_path, **targets)}", "--probe.interval=1h"])
    site = web.Listener(web.application(_exporter(args)), [Address("127.0.0.1", 0)], WebConfig())
    async with web.serving(site) as (url,):
        yield url


async def test_the_probe_page(tmp_path: Path) -> None:
    async with (
        server(silence, tls(Authority("Root").issue(HOST))) as port,
        server(silence) as hanging,
        exporter(tmp_path, good=f"127.0.0.1:{port}", hangs=f"127.0.0.1:{hanging}") as url,
        ClientSession() as session,
    ):

        async def get(path: str, patience: str = "60") -> tuple[int, str]:
            headers = {"X-Prometheus-Scrape-Timeout-Seconds": patience}
            async with session.get(f"{url}{path}", headers=headers) as answer:
                return answer.status, await answer.text()

        status, page = await get("/probe?target=good")
        assert status == 200
        assert 'ssl_certificate_probe_success{target="good"} 1.0' in page
        assert '"hangs"' not in page
        status, page = await get("/probe?target=hangs", patience="0.4")
        assert status == 200
        assert 'ssl_certificate_probe_success{target="hangs"} 0.0' in page
        assert 'ssl_certificate_probe_info{reason="timeout",target="hangs"} 1.0' in page
        for path, code in (("/probe?target=nobody%0A<b>", 404), ("/probe", 400)):
            status, page = await get(path)
            assert status == code
            assert page.count("\n") == 1
            assert "nobody" not in page
        status, page = await get("/metrics")
        assert status == 200
        assert 'ssl_certificate_expiry_days{target="good"}' in page
        assert "certificate_exporter_scrape_duration_seconds" in page


def test_a_wrong_configuration_or_command_line_ends_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"--config.file={tmp_path}/missing.yml"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    for wrong in ("--probe.interval=60", "--probe.concurrency=0", "--nonsense"):
        with pytest.raises(SystemExit) as ended:
            main([wrong])
        assert ended.value.code == 2
        assert capsys.readouterr().err.count("\n") == 1


async def test_a_target_is_probed_once_a_second_however_often_it_is_asked_for(tmp_path: Path) -> None:
    client = Scripted()
    probing = prober(tmp_path, client, a="a:1")
    began = time.monotonic()
    for _ in range(3):
        await probing.probe("a", 60)
    assert len(client.calls) == 3
    assert time.monotonic() - began >= 2 * _LEAST_PAUSE
