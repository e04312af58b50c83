"""The web server over real HTTP on loopback, and as a real process that gets signals."""

from __future__ import annotations

import asyncio
import dataclasses
import re
import signal
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web as aioweb
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tests.toolkit.fakes import Target, line_with, listening, process
from toolkit.values import Address
from toolkit.web import Listener, ListenError, application, serving
from toolkit.webconfig import WebConfig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from toolkit.scrape import Exporter

LOOPBACK = Address("127.0.0.1", 0)
OPENMETRICS = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3"


def site(exporter: Exporter[int], *addresses: Address) -> Listener:
    return Listener(application(exporter), addresses or [LOOPBACK], WebConfig())


@asynccontextmanager
async def client_of(exporter: Exporter[int]) -> AsyncIterator[aiohttp.ClientSession]:
    async with serving(site(exporter)) as (url,), aiohttp.ClientSession(url) as client:
        yield client


async def test_metrics_are_text_by_default() -> None:
    async with client_of(Target().exporter()) as client, client.get("/metrics") as response:
        assert response.status == 200
        assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        names = {family.name for family in parse_text(await response.text())}
    assert {"demo_up", "demo_reads", "demo_exporter_scrape_failures", "process_cpu_seconds"} <= names


async def test_metrics_are_openmetrics_for_who_asks() -> None:
    async with (
        client_of(Target().exporter()) as client,
        client.get("/metrics", headers={"Accept": OPENMETRICS}) as response,
    ):
        assert response.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
        names = {family.name for family in parse_openmetrics(await response.text())}  # type: ignore[no-untyped-call] # untyped there
    assert {"demo_up", "demo_exporter_build"} <= names


async def test_metrics_are_compressed_for_who_asks_and_only_then() -> None:
    async with client_of(Target().exporter()) as client:
        async with client.get("/metrics", headers={"Accept-Encoding": "gzip"}) as response:
            assert response.headers["Content-Encoding"] == "gzip"
            assert "demo_up 1.0" in await response.text()
        async with client.get("/metrics", headers={"Accept-Encoding": "identity"}) as response:
            assert "Content-Encoding" not in response.headers
            assert "demo_up 1.0" in await response.text()


async def test_name_filter_gives_only_the_named_series() -> None:
    async with client_of(Target().exporter()) as client, client.get("/metrics?name[]=demo_up") as response:
        assert [family.name for family in parse_text(await response.text())] == ["demo_up"]


async def test_scrapes_at_once_share_one_read(arrived: asyncio.Queue[None]) -> None:
    target = Target()
    target.answers.clear()
    async with client_of(target.exporter()) as client:

        async def scrape() -> str:
            async with client.get("/metrics") as response:
                return await response.text()

        both = [asyncio.create_task(scrape()) for _ in range(2)]
        for _ in both:
            await arrived.get()
        target.answers.set()
        assert all("demo_reads 1.0" in text for text in await asyncio.gather(*both))
    assert target.reads == 1


async def test_a_slow_target_is_answered_in_the_time_prometheus_gives() -> None:
    target = Target()
    target.answers.clear()
    headers = {"X-Prometheus-Scrape-Timeout-Seconds": "0.1"}
    async with (
        client_of(target.exporter()) as client,
        client.get("/metrics", headers=headers, timeout=aiohttp.ClientTimeout(5)) as response,
    ):
        text = await response.text()
        assert response.status == 200
    assert "demo_up 0.0" in text
    assert 'demo_exporter_scrape_failures_total{reason="timeout"} 1.0' in text


async def test_what_cannot_be_rendered_is_down_and_no_error_page() -> None:
    unrenderable = dataclasses.replace(
        Target().exporter(),
        collect=lambda _: [GaugeMetricFamily("demo_bad", "A value that is none.", value="high")],  # type: ignore[arg-type]
    )
    async with client_of(unrenderable) as client, client.get("/metrics") as response:
        text = await response.text()
        assert response.status == 200
    assert "demo_up 0.0" in text
    assert 'demo_exporter_scrape_failures_total{reason="internal"} 1.0' in text


@pytest.mark.parametrize("path", ["/-/healthy", "/-/ready"])
async def test_health_does_not_read_the_target(path: str) -> None:
    target = Target()
    async with client_of(target.exporter()) as client, client.get(path) as response:
        assert response.status == 200
        assert response.content_type == "text/plain"
    assert target.reads == 0


async def test_landing_page_links_every_page_and_escapes() -> None:
    async def probe(_: aioweb.Request) -> aioweb.Response:
        return aioweb.Response(text="probed")

    exporter = dataclasses.replace(Target().exporter(), routes=(aioweb.get("/probe", probe),))
    async with client_of(exporter) as client:
        async with client.get("/") as response:
            assert response.content_type == "text/html"
            page = await response.text()
        async with client.get("/probe") as response:
            assert await response.text() == "probed"
    assert "<h1>Demo &lt;exporter&gt; &amp; more</h1>" in page
    assert set(re.findall(r'href="([^"]+)"', page)) == {"/metrics", "/-/healthy", "/-/ready", "/probe"}


async def test_an_unknown_page_is_a_plain_404() -> None:
    async with client_of(Target().exporter()) as client, client.get("/<script>") as response:
        assert (response.status, response.content_type) == (404, "text/plain")
        assert "script" not in await response.text()


@pytest.mark.parametrize(
    "request_line", [b"\0garbage", b"GET /" + b"a" * 20_000 + b" HTTP/1.1"], ids=["garbage", "long"]
)
async def test_what_is_not_http_is_refused_without_a_log_line(
    request_line: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(site(Target().exporter())) as (url,):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(request_line + b"\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.0 400")
        writer.close()
    assert not caplog.records


async def test_a_bug_in_an_extra_page_is_logged_and_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(_: aioweb.Request) -> aioweb.Response:
        raise ZeroDivisionError("inner secret")

    exporter = dataclasses.replace(Target().exporter(), routes=(aioweb.get("/probe", broken),))
    async with client_of(exporter) as client, client.get("/probe") as response:
        assert response.status == 500
        assert "inner secret" not in await response.text()
    [record] = caplog.records
    assert record.exc_info


async def test_the_background_runs_while_the_server_does() -> None:
    seen: list[str] = []

    @asynccontextmanager
    async def background() -> AsyncIterator[None]:
        seen.append("in")
        yield
        seen.append("out")

    async with client_of(dataclasses.replace(Target().exporter(), background=background)):
        assert seen == ["in"]
    assert seen == ["in", "out"]


async def test_a_background_job_that_does_not_end_does_not_stop_the_exit() -> None:
    @asynccontextmanager
    async def background() -> AsyncIterator[None]:
        yield
        await asyncio.Event().wait()

    async with asyncio.timeout(60), client_of(dataclasses.replace(Target().exporter(), background=background)):
        pass


async def test_every_given_address_is_listened_on() -> None:
    addresses = [LOOPBACK, LOOPBACK, *([Address("::1", 0)] if socket.has_ipv6 else [])]
    async with serving(site(Target().exporter(), *addresses)) as urls, aiohttp.ClientSession() as client:
        assert len(set(urls)) == len(addresses)
        for url in urls:
            async with client.get(url + "/-/ready") as response:
                assert response.status == 200


async def test_a_running_scrape_finishes_while_new_connections_are_refused() -> None:
    target = Target()
    target.answers.clear()
    async with aiohttp.ClientSession() as client:
        server = serving(site(target.exporter()))
        (url,) = await server.__aenter__()
        scrape = asyncio.create_task(client.get(url + "/metrics"))
        await target.reading.wait()
        leaving = asyncio.create_task(server.__aexit__(None, None, None))
        await asyncio.sleep(0)  # lets it begin to leave
        for _ in range(100):  # many, so that the scrape is seen to be waited for
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        target.answers.set()
        async with await scrape as response:
            assert "demo_up 1.0" in await response.text()
        await leaving


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_lets_a_running_scrape_finish(number: signal.Signals) -> None:
    async with process("--web.listen-address=127.0.0.1:0") as exporter, aiohttp.ClientSession() as client:
        url = await listening(exporter)
        assert exporter.stdin
        scrape = asyncio.create_task(client.get(url + "/metrics"))
        await line_with(exporter, "msg=reading")
        exporter.send_signal(number)
        await line_with(exporter, "msg=stopping")
        exporter.stdin.write(b"now\n")
        async with await scrape as response:
            assert "demo_up 1.0" in await response.text()
        assert await exporter.wait() == 0
        assert exporter.stderr
        assert await exporter.stderr.read() == b""


async def test_a_signal_does_not_wait_for_a_hung_scrape() -> None:
    async with process("--web.listen-address=127.0.0.1:0") as exporter, aiohttp.ClientSession() as client:
        url = await listening(exporter)
        headers = {"X-Prometheus-Scrape-Timeout-Seconds": "600"}
        scrape = asyncio.create_task(client.get(url + "/metrics", headers=headers))
        await line_with(exporter, "msg=reading")
        exporter.send_signal(signal.SIGTERM)
        async with asyncio.timeout(60):  # far below the scrape's own 600 s
            assert await exporter.wait() == 0
        with pytest.raises(aiohttp.ClientError):
            await scrape


async def test_a_port_in_use_is_one_line_and_exit_code_1() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with process(f"--web.listen-address=127.0.0.1:{port}") as exporter:
            _, errors = await exporter.communicate()
    assert exporter.returncode == 1
    [line] = errors.decode().splitlines()
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in line


@pytest.mark.parametrize("accept", ["application/openmetrics-text;version=abc", "text/plain;version=1..2", "\u00e9"])
async def test_a_malformed_accept_header_gets_the_plain_format(accept: str, caplog: pytest.LogCaptureFixture) -> None:
    async with (
        client_of(Target().exporter()) as client,
        client.get("/metrics", headers={"Accept": accept}) as response,
    ):
        assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        assert "demo_up 1.0" in await response.text()
    assert not caplog.records


async def test_scrapes_at_once_share_one_page(arrived: asyncio.Queue[None]) -> None:
    collected = 0

    def counted(_: int | None) -> list[GaugeMetricFamily]:
        nonlocal collected
        collected += 1
        return [GaugeMetricFamily("demo_pages", "Pages made.", collected)]

    target = Target()
    target.answers.clear()
    async with client_of(dataclasses.replace(target.exporter(), collect=counted)) as client:

        async def scrape(encoding: str) -> str:
            async with client.get("/metrics", headers={"Accept-Encoding": encoding}) as response:
                return await response.text()

        scrapes = [asyncio.create_task(scrape(encoding)) for encoding in ("gzip", "identity") * 10]
        await target.reading.wait()
        for _ in scrapes:
            await arrived.get()
        target.answers.set()
        assert all("demo_pages 1.0" in text for text in await asyncio.gather(*scrapes))
        assert "demo_pages 2.0" in await scrape("gzip")


async def test_two_sites_are_served_at_once() -> None:
    async def pushed(_: aioweb.Request) -> aioweb.Response:
        return aioweb.Response(text="pushed")

    own = aioweb.Application()
    own.add_routes([aioweb.post("/push", pushed)])
    async with (
        serving(Listener(own, [LOOPBACK], WebConfig(), setting="PORT"), site(Target().exporter())) as (push, metrics),
        aiohttp.ClientSession() as client,
    ):
        async with client.post(push + "/push", data=b"x") as response:
            assert await response.text() == "pushed"
        async with client.get(metrics + "/metrics") as response:
            assert "demo_up 1.0" in await response.text()
        async with client.get(push + "/metrics") as response:
            assert response.status == 404


async def test_an_address_that_cannot_be_had_names_its_setting_and_frees_the_others() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = Address("127.0.0.1", taken.getsockname()[1])
        other = Listener(aioweb.Application(), [address], WebConfig(), setting="METRICS_LISTEN_ADDRESS")
        with pytest.raises(ListenError, match=rf"cannot listen on {address}: .* choose another METRICS_LISTEN_ADDRESS"):
            async with serving(site(Target().exporter()), other):
                pass
