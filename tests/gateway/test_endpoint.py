"""POST /push and the pages: what callers may rely on, whatever they send."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import ssl
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import bcrypt
import pytest

from gateway.intake import MAX_BODY
from gateway.rate_limit import RateLimit
from lab.fakes.recordings import FOLDER
from tests.gateway.conftest import ANDROID, IPHONE, SECRET, Caller, Pki, Start
from toolkit.logs import Logfmt

if TYPE_CHECKING:
    from pathlib import Path

    from lab.fakes.apns import FakeApns
    from lab.fakes.fcm import FakeFcm

JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
GOOD = {"node": IPHONE, "secret": SECRET, "type": "call", "jid": "bert@commeazy.com"}


async def post(caller: Caller, body: bytes, headers: dict[str, str]) -> tuple[int, str]:
    async with caller.session.post(f"{caller.base}/push", data=body, headers=headers) as answer:
        return answer.status, await answer.text()


async def test_a_form_is_as_good_as_json(start: Start, apple: FakeApns) -> None:
    caller = await start()
    assert await post(caller, urlencode(GOOD).encode(), FORM) == (200, "OK")
    assert await post(caller, json.dumps(GOOD).encode(), {"Content-Type": "application/json; charset=utf-8"}) == (
        200,
        "OK",
    )
    assert len(apple.received) == 2


@pytest.mark.parametrize(
    ("change", "answer"),
    [
        ({"secret": "wrong"}, (403, "Forbidden")),
        ({"secret": None}, (403, "Forbidden")),
        ({"secret": ""}, (403, "Forbidden")),
        ({"secret": [SECRET]}, (403, "Forbidden")),
        ({"secret": SECRET + " "}, (403, "Forbidden")),
        ({"node": ""}, (400, "Missing device token (node)")),
        ({"node": None}, (400, "Missing device token (node)")),
        ({"node": 17}, (400, "Missing device token (node)")),
        ({"node": "n" * 5000}, (400, "Device token (node) is too long")),
        ({"type": "sms"}, (400, "Unknown type: must be call or message")),
        ({"type": None}, (400, "Unknown type: must be call or message")),
        ({"type": ["call"]}, (400, "Unknown type: must be call or message")),
        ({"secret": "wrong", "node": ""}, (403, "Forbidden")),
    ],
)
async def test_a_request_without_secret_node_or_type_is_refused(
    start: Start, apple: FakeApns, google: FakeFcm, change: dict[str, Any], answer: tuple[int, str]
) -> None:
    caller = await start()
    assert await post(caller, json.dumps({**GOOD, **change}).encode(), JSON) == answer
    assert not apple.received
    assert not google.received
    assert (await caller.samples())[f'push_requests_total{{code="{answer[0]}"}}'] == 1


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{", JSON, 400),
        (b"[]", JSON, 403),
        (b"[" * 8000, JSON, 400),
        (json.dumps(GOOD).replace("{", '{"type": "message", ', 1).encode(), JSON, 400),
        (urlencode([*GOOD.items(), ("node", "other")]).encode(), FORM, 400),
        (b"\xff\xfe", JSON, 400),
        (b"node=%ff&secret=\xff", FORM, 400),
        (b"x" * (MAX_BODY + 1), JSON, 413),
        (b"{}", {"Content-Type": "text/plain"}, 415),
        (b"{}", {**JSON, "Content-Encoding": "gzip"}, 415),
        (b"", {"Content-Type": "multipart/form-data; boundary=x"}, 415),
    ],
)
async def test_a_body_that_cannot_be_read_gets_a_reason(
    start: Start, body: bytes, headers: dict[str, str], status: int
) -> None:
    caller = await start()
    assert (await post(caller, body, headers))[0] == status


async def test_requests_beyond_the_rate_limit_are_refused(start: Start, apple: FakeApns) -> None:
    caller = await start(RATE_LIMIT="5")
    answers = await asyncio.gather(*(caller.push() for _ in range(110)))
    refused = [answer for answer in answers if answer.status == 429]
    assert refused
    assert {answer.text for answer in refused} == {"Rate limit exceeded"}
    assert len(apple.received) == len(answers) - len(refused)


async def test_requests_without_the_secret_take_nothing_from_the_rate_limit(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    caller = await start(RATE_LIMIT="10")
    flood = await asyncio.gather(*(caller.push(secret="guess") for _ in range(50)))
    assert {answer.status for answer in flood} == {403}
    assert {answer.status for answer in await asyncio.gather(*(caller.push() for _ in range(10)))} == {200}
    assert (await caller.push()).status == 429
    assert len([record for record in caplog.records if record.msg == "push with a wrong secret"]) == 1


def test_the_rate_limit_counts_any_second_not_clock_seconds() -> None:
    limit = RateLimit(3)
    assert [limit.take(now) for now in (0.5, 0.625, 0.75, 0.875, 1.25, 1.5, 1.5625, 1.625)] == [
        True, True, True, False, False, True, False, True,
    ]  # fmt: skip
    assert all(RateLimit(0).take(0.0) for _ in range(1000))


async def test_a_handler_that_does_not_run_makes_its_pushes_unavailable(start: Start, google: FakeFcm) -> None:
    caller = await start(HANDLERS="voip")
    answer = await caller.push(ANDROID, "message")
    assert (answer.status, answer.outcome) == (200, "unavailable")
    assert (await caller.health())["fcm"] == "disabled"
    assert not google.connections
    assert (await caller.push(ANDROID, "call")).outcome == "unavailable"
    assert await caller.counts() == {
        "push_fcm_failed_total": 2,
        'push_failures_total{handler="fcm",reason="disabled"}': 2,
        'push_calls_failed_total{handler="fcm"}': 1,
    }


async def test_settings_that_are_missing_switch_one_handler_off_loudly(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    caller = await start(ready=False, APNS_KEY_ID="")
    assert (await caller.push(ANDROID, "message")).outcome == "sent"
    assert (await caller.push()).outcome == "unavailable"
    assert (await caller.health())["apns"] == "unavailable"
    samples = await caller.samples()
    assert samples['push_credentials_valid{handler="fcm"}'] == 1
    assert 'push_credentials_valid{handler="voip"}' not in samples
    assert samples['push_failures_total{handler="voip",reason="credentials"}'] == 1
    (error,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "APNS_KEY_ID" in Logfmt().format(error)


async def test_the_second_listener_shows_health_and_metrics_only(start: Start) -> None:
    caller = await start()
    base = caller.gateway.urls[0]
    for path, status in (("/health", 200), ("/metrics", 200), ("/-/ready", 404)):
        async with caller.session.get(base + path) as answer:
            assert answer.status == status
    async with caller.session.post(base + "/push", json=GOOD) as answer:
        assert answer.status == 404


async def test_the_recorded_page_has_what_the_gateway_shows_today(start: Start, tmp_path: Path) -> None:
    """Rules, panels and alerts' tests are held against tests/recorded/push-gateway.prom."""
    account = tmp_path / "account.json"
    account.touch()
    canaries = {"CANARY_VOIP_TOKEN": IPHONE, "CANARY_FCM_TOKEN": ANDROID}
    caller = await start(GOOGLE_APPLICATION_CREDENTIALS=str(account), **canaries)
    page = (await caller.get("/metrics"))[1]
    recorded = (FOLDER / "push-gateway.prom").read_text()

    def shape(text: str) -> set[str]:
        samples = {line.rpartition(" ")[0] for line in text.splitlines() if line and not line.startswith("# HELP")}
        return {sample for sample in samples if not sample.startswith("push_gateway_build_info")}

    assert shape(recorded) == shape(page)


async def test_the_second_listener_can_have_tls_and_users(start: Start, pki: Pki, tmp_path: Path) -> None:
    """As every exporter can; /push stays as it is, for callers on this host."""
    file = tmp_path / "web.yml"
    hashed = bcrypt.hashpw(b"of-prometheus", bcrypt.gensalt(4)).decode()
    file.write_text(
        f"tls_server_config: {{cert_file: {pki.directory}/server.crt, key_file: {pki.directory}/server.key}}\n"
        f"basic_auth_users: {{prometheus: {hashed}}}\n"
    )
    caller = await start(METRICS_WEB_CONFIG_FILE=str(file))
    url = caller.gateway.urls[0]
    assert url.startswith("https://")
    trust = ssl.create_default_context(cafile=pki.ca)
    for password, status in (("of-prometheus", 200), ("guess", 401), (None, 401)):
        credentials = base64.b64encode(f"prometheus:{password}".encode()).decode()
        headers = {"Authorization": f"Basic {credentials}"} if password else None
        for page in ("/metrics", "/health"):
            async with caller.session.get(url + page, headers=headers, ssl=trust) as answer:
                assert answer.status == status
    assert (await caller.push()).outcome == "sent"
    assert (await caller.get("/health"))[0] == 200


async def test_health_is_what_the_specification_says_and_true(start: Start, apple: FakeApns) -> None:
    caller = await start()
    health = await caller.health()
    assert list(health) == ["status", "uptime", "apns", "fcm", "version"]
    assert (health["status"], health["apns"], health["fcm"]) == ("ok", "connected", "initialized")
    assert (await caller.get("/-/healthy"))[0] == (await caller.get("/-/ready"))[0] == 200
    await apple.stop()
    async with asyncio.timeout(60):
        while (await caller.health())["apns"] == "connected":
            await asyncio.sleep(0.01)
    samples = await caller.samples()
    assert 'push_provider_state{handler="voip"}' not in samples
    assert 'push_connection_age_seconds{handler="voip"}' not in samples
    assert samples['push_provider_state{handler="fcm"}'] == 1


async def test_uptime_is_not_what_a_clock_that_is_set_says(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock set back would look like a restart, and two of them like a crash loop."""
    caller = await start()
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() - 3600)
    assert (await caller.health())["uptime"] == 0
    assert 0 < (await caller.samples())["push_gateway_uptime_seconds"] < 60


async def test_the_latency_histogram_has_an_edge_at_2000_ms(start: Start) -> None:
    caller = await start()
    await caller.push()
    samples = await caller.samples()
    assert samples['push_latency_ms_bucket{handler="voip",le="2000.0"}'] == 1
    for stage in ("queue", "token", "connect", "provider"):
        assert samples[f'push_stage_seconds_count{{handler="voip",stage="{stage}"}}'] == 1


async def test_a_log_line_has_six_characters_of_the_token_and_nothing_personal(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    caller = await start()
    await caller.push()
    await caller.push(secret="guess")
    written = "\n".join(Logfmt().format(record) for record in caplog.records)
    assert f"token={IPHONE[-6:]} " in written
    for private in (IPHONE[-7:], SECRET, "guess", "bert", "incoming-call"):
        assert private not in written
