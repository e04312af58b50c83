"""Pushes to the operator's test phones: they arrive again and again, and no count of users' pushes knows of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.settings import SettingsError
from lab.fakes import apns, fcm
from tests.gateway.conftest import ANDROID, IPHONE, Pki, Start, make_settings, until

if TYPE_CHECKING:
    from lab.fakes.apns import FakeApns
    from lab.fakes.fcm import FakeFcm

QUICK = {"CANARY_INTERVAL": "50ms"}


async def canaries(start: Start, **environment: str) -> dict[str, float]:
    """The canaries' samples, and every other counter that is not zero, once there are some of each."""
    caller = await start(**QUICK, **environment)
    counts: dict[str, float] = {}
    while sum(counts.values()) < 6:
        counts = await caller.counts()
    return counts


async def test_a_voip_canary_gets_pushes_that_say_what_they_are(start: Start, apple: FakeApns) -> None:
    counts = await canaries(start, CANARY_VOIP_TOKEN=IPHONE)
    assert set(counts) == {'push_canary_total{handler="voip",outcome="sent"}'}
    assert {push.node for push in apple.received} == {IPHONE}
    assert {push.payload["type"] for push in apple.received} == {"canary"}


async def test_an_fcm_canary_gets_pushes_and_dry_runs(start: Start, google: FakeFcm) -> None:
    caller = await start(**QUICK, CANARY_FCM_TOKEN=ANDROID)
    await until(lambda: len(google.received) > 2 and len(google.validated) > 2)
    assert {(push.node, push.data["type"]) for push in google.received + google.validated} == {(ANDROID, "canary")}
    counts = await caller.counts()
    assert set(counts) == {f'push_canary_total{{handler="fcm",outcome="{word}"}}' for word in ("sent", "validated")}


async def test_a_canary_changes_no_latency_and_no_stage(start: Start, google: FakeFcm) -> None:
    caller = await start(**QUICK, CANARY_FCM_TOKEN=ANDROID)
    await until(lambda: len(google.received) > 2)
    samples = await caller.samples()
    assert not [name for name in samples if name.startswith(("push_latency_ms", "push_stage_seconds"))]


async def test_a_canary_that_the_provider_does_not_know_is_not_sent(start: Start, google: FakeFcm) -> None:
    google.answer = lambda request: fcm.refuse(request, 404, "UNREGISTERED")
    counts = await canaries(start, CANARY_FCM_TOKEN=ANDROID)
    assert set(counts) == {'push_canary_total{handler="fcm",outcome="unregistered"}'}


async def test_a_voip_canary_that_fails_is_no_failed_call(start: Start, apple: FakeApns) -> None:
    apple.answer = lambda request: apns.refuse(request, 400, "TopicDisallowed")
    counts = await canaries(start, CANARY_VOIP_TOKEN=IPHONE)
    assert set(counts) == {'push_canary_total{handler="voip",outcome="rejected"}'}


async def test_without_a_canary_there_is_no_sample_and_no_push(start: Start, apple: FakeApns) -> None:
    caller = await start(**QUICK, CANARY_VOIP_TOKEN="CHANGE_ME")
    assert (await caller.push()).outcome == "sent"
    assert "push_canary_total{" not in (await caller.get("/metrics"))[1]
    assert len(apple.received) == 1


@pytest.mark.parametrize(
    ("variable", "value", "line"),
    [
        ("CANARY_VOIP_TOKEN", ANDROID, "CANARY_VOIP_TOKEN: must be the PushKit token"),
        ("CANARY_FCM_TOKEN", IPHONE, "CANARY_FCM_TOKEN: must be the FCM registration token"),
        ("CANARY_FCM_TOKEN", "x" * 4097, "CANARY_FCM_TOKEN: must be the FCM registration token"),
        ("CANARY_INTERVAL", "hourly", "CANARY_INTERVAL=hourly: must be a duration"),
    ],
)
def test_a_wrong_canary_is_one_line_that_quotes_no_token(pki: Pki, variable: str, value: str, line: str) -> None:
    with pytest.raises(SettingsError) as error:
        make_settings(pki, 1, 1, {variable: value})
    assert str(error.value).startswith(line)
    assert value not in str(error.value) or variable == "CANARY_INTERVAL"


@pytest.mark.parametrize(("mode", "private"), [(0o600, "1.0"), (0o640, "0.0"), (0o604, "0.0")])
async def test_a_key_file_that_others_may_read_is_seen(start: Start, pki: Pki, mode: int, private: str) -> None:
    caller = await start()
    pki.key_path.chmod(mode)
    try:
        page = (await caller.get("/metrics"))[1]
    finally:
        pki.key_path.chmod(0o600)
    assert f'push_key_file_private{{handler="voip"}} {private}' in page
    assert 'push_key_file_private{handler="fcm"}' not in page, "there is no service account here"
