"""A gateway in this process between a fake APNs and a fake FCM, and a caller."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import trustme
from prometheus_client.parser import text_string_to_metric_families

from gateway import credentials
from gateway.service import Gateway, Workings, serving
from gateway.settings import Settings, read
from gateway.timing import Timing
from gateway.tokens import Attempt, Minted
from lab.fakes import apns, fcm
from lab.fakes.http2 import Request
from toolkit.reload import Reload
from toolkit.webconfig import WebConfig

if TYPE_CHECKING:
    from pathlib import Path

IPHONE = "a1b2c3d4" * 8
ANDROID = "fGh1:APA91bE-android_token-000001"
SECRET = "s3cret-of-the-lab"

Answering = Callable[[Request], None]


@dataclass(frozen=True)
class Pki:
    """The lab's certificates, and the two providers' keys, all as files."""

    directory: Path
    key: str

    @property
    def ca(self) -> str:
        return str(self.directory / "ca.pem")

    @property
    def key_path(self) -> Path:
        return self.directory / "AuthKey.p8"

    @property
    def account_path(self) -> Path:
        return self.directory / "account.json"

    def server_context(self, *protocols: str) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.directory / "server.crt", self.directory / "server.key")
        context.set_alpn_protocols(list(protocols))
        return context


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    directory = tmp_path_factory.mktemp("pki")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(directory / "ca.pem"))
    issued = authority.issue_cert("localhost", "127.0.0.1")
    (directory / "server.crt").write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(str(directory / "server.key"))
    made = Pki(directory, apns.make_key())
    made.key_path.write_text(made.key)
    made.key_path.chmod(0o600)
    return made


@pytest.fixture(autouse=True)
def trust(pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", pki.ca)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", pki.ca)


@pytest.fixture
async def apple(pki: Pki) -> AsyncIterator[apns.FakeApns]:
    server = apns.FakeApns(pki.server_context("h2"), pki.key)
    await server.start()
    yield server
    await server.stop()
    assert not server.violations


@pytest.fixture
async def google(pki: Pki) -> AsyncIterator[fcm.FakeFcm]:
    server = fcm.FakeFcm(pki.server_context("h2"))
    await server.start()
    yield server
    await server.stop()
    assert not server.violations


@dataclass
class Clock:
    """Unix time that a test can move."""

    ahead: float = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@dataclass
class Minting:
    """Makes tokens in this process, with the real signature; `failing` makes an attempt end badly."""

    key_path: Path
    clock: Clock
    failing: Attempt | None = None
    attempts: int = 0

    async def __call__(self, arguments: Sequence[str]) -> Attempt:
        self.attempts += 1
        if self.failing is not None and arguments[0] == "fcm":
            return self.failing
        now = self.clock()
        if arguments[0] == "apns":
            return Minted(**credentials.apns(*arguments[1:])), False, ""
        return Minted(f"ya29.{self.attempts}", now, now + 3600, "key", fcm.PROJECT), False, ""


@dataclass
class Answer:
    """What a caller of /push gets."""

    status: int
    text: str
    outcome: str | None
    headers: dict[str, str]


@dataclass
class Caller:
    """Asks a running gateway for pushes and for what it says about itself."""

    gateway: Gateway
    session: aiohttp.ClientSession
    base: str
    clock: Clock = field(default_factory=Clock)

    @property
    def port(self) -> int:
        """Of /push."""
        return int(self.base.rpartition(":")[2])

    async def push(
        self, node: str = IPHONE, kind: str = "call", headers: dict[str, str] | None = None, **more: str
    ) -> Answer:
        body = {"node": node, "secret": SECRET, "type": kind, "jid": "bert@commeazy.com", **more}
        async with self.session.post(f"{self.base}/push", json=body, headers=headers) as answer:
            text = await answer.text()
            return Answer(answer.status, text, answer.headers.get("Push-Outcome"), dict(answer.headers))

    def inflight(self, handler: str) -> int:
        return self.gateway.metrics.handlers[handler].inflight

    async def get(self, path: str) -> tuple[int, str]:
        async with self.session.get(f"{self.base}{path}") as answer:
            return answer.status, await answer.text()

    async def health(self) -> dict[str, Any]:
        parsed: dict[str, Any] = json.loads((await self.get("/health"))[1])
        return parsed

    async def samples(self) -> dict[str, float]:
        """Every sample that is not zero, by name{label="value"} with the labels in their order."""
        text = (await self.get("/metrics"))[1]
        found = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = ",".join(f'{name}="{value}"' for name, value in sample.labels.items())
                if sample.value:
                    found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
        return found

    async def counts(self) -> dict[str, float]:
        """The counters that are not zero and not about connections, tokens and requests."""
        return {
            name: value
            for name, value in (await self.samples()).items()
            if re.match(r"push_.*_total", name) and not re.match(r"push_(connections|token_renewals|requests)", name)
        }


Start = Callable[..., Awaitable[Caller]]

QUICK = Timing(idle=0.2, awaiting=0.2, pong=0.3)


@pytest.fixture
async def start(pki: Pki, apple: apns.FakeApns, google: fcm.FakeFcm) -> AsyncIterator[Start]:
    """Start a gateway between the fakes; variables and workings as the test wishes. Waits until it is ready."""
    async with starting(pki, apple, google) as start:
        yield start


@contextlib.asynccontextmanager
async def starting(pki: Pki, apple: apns.FakeApns, google: fcm.FakeFcm) -> AsyncIterator[Start]:
    async with contextlib.AsyncExitStack() as stack:

        async def start(*, ready: bool = True, workings: dict[str, Any] | None = None, **environment: str) -> Caller:
            clock = Clock()
            made = {"mint": Minting(pki.key_path, clock), "clock": clock, "timing": QUICK, **(workings or {})}
            settings = make_settings(pki, apple.port, google.port, environment)
            web_config = WebConfig(settings.web_config)
            running = serving(settings, web_config, Reload(web_config.reload), Workings(**made))
            gateway = await stack.enter_async_context(running)
            session = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
            caller = Caller(gateway, session, gateway.urls[1], clock)
            if ready:
                await until(lambda: all(handler.ready for handler in gateway.handlers.values()))
            return caller

        yield start
        apple.answer, google.answer = apns.accept, fcm.accept
        for connection in apple.live + google.live:
            connection.kill()  # a test that failed half way must not wait for its pushes' deadlines


def make_settings(pki: Pki, apns_port: int, fcm_port: int, environment: dict[str, str]) -> Settings:
    return read(
        {
            "PUSH_SECRET": SECRET,
            "PORT": "0",
            "METRICS_LISTEN_ADDRESS": "127.0.0.1:0",
            "RATE_LIMIT": "0",
            "APNS_KEY_ID": apns.KEY_ID,
            "APNS_TEAM_ID": apns.TEAM_ID,
            "APNS_KEY_PATH": str(pki.key_path),
            "APNS_BUNDLE_ID": apns.BUNDLE_ID,
            "APNS_URL": f"https://localhost:{apns_port}",
            "FCM_URL": f"https://localhost:{fcm_port}",
            "GOOGLE_APPLICATION_CREDENTIALS": str(pki.account_path),
            **environment,
        }
    )


async def until(condition: Callable[[], bool], patience: float = 60.0) -> None:
    """Wait for something that nobody announces; fails the test if it does not come."""
    async with asyncio.timeout(patience):
        while not condition():
            await asyncio.sleep(0.005)


def once(first: Answering, then: Answering = apns.accept) -> Answering:
    """Answer the first push with `first`, all others with `then`."""
    left = [first]

    def answer(request: Request) -> None:
        (left.pop() if left else then)(request)

    return answer


def withhold(kept: list[Request]) -> Answering:
    return kept.append
