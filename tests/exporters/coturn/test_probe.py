"""The probe leaves nothing behind, whatever is lost on the way."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporters.coturn import connection, probe
from exporters.coturn.config import Configuration
from exporters.coturn.probe import Probe, ProbeOutcome
from tests.exporters.coturn.fakes import FakeTurn
from toolkit.stun import Method

SOCKET = 4711
CLIENTS = 11
BOTH = (("stun", "udp"), ("turn", "udp"))


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_PATIENCE", 0.2)
    monkeypatch.setattr(connection, "_FIRST_RETRANSMISSION", 10.0)


def probing(port: int, secret: str = "secret", fake: FakeTurn | None = None) -> Probe:
    """A probe of the fake, whose client's relay has the same port as the probe's will have, at another address."""

    def sockets() -> dict[int, int]:
        return {CLIENTS: 50000, CLIENTS + 1: 50001} | ({SOCKET: 50000} if fake and fake.allocations else {})

    return Probe(settings(port, secret), sockets)


def settings(port: int, secret: str = "secret", **others: str) -> Configuration:
    """Settings with one listener, over UDP."""
    options = {
        "listening-port": str(port),
        "no-tcp": "",
        **others,
        **({"static-auth-secret": secret} if secret else {}),
    }
    return Configuration(
        Path("/turnserver.conf"), {name.replace("_", "-"): (value,) for name, value in options.items()}
    )


async def test_a_round_measures_binding_and_allocation_and_releases_it() -> None:
    fake = FakeTurn("secret")
    async with fake.listening() as port:
        tried = probing(port)
        await tried.round()
        assert tried.outcomes.keys() == set(BOTH)
        for outcome in tried.outcomes.values():
            assert not outcome.failure
            assert outcome.seconds > 0
        assert tried.bindings == 1
        assert not fake.allocations


async def test_its_sockets_are_its_own_until_they_are_closed() -> None:
    fake = FakeTurn("secret")
    async with fake.listening() as port:
        tried = probing(port, fake=fake)
        await tried.round()
        assert tried.held({SOCKET, CLIENTS, CLIENTS + 1}) == {SOCKET}
        assert tried.held({CLIENTS}) == set()
        assert tried.held({SOCKET}) == set(), "a closed socket's number may be another's later"


@pytest.mark.parametrize("lost", [Method.ALLOCATE, Method.REFRESH])
async def test_an_allocation_whose_answer_was_lost_is_released_later(lost: Method) -> None:
    fake = FakeTurn("secret")
    async with fake.listening() as port:
        tried = probing(port, fake=fake)
        fake.lose = [lost]
        await tried.round()
        assert tried.outcomes["stun", "udp"].failure == ""
        if lost is Method.ALLOCATE:
            assert tried.outcomes["turn", "udp"] == ProbeOutcome(failure="timeout")
            assert len(fake.allocations) == 1
        fake.deaf = True
        await tried.settle()
        fake.deaf = False
        await tried.settle()
        assert not fake.allocations
        assert tried.held({SOCKET, CLIENTS}) == {SOCKET}
        assert not tried._owed


@pytest.mark.parametrize(
    ("code", "reason"), [(300, "redirected"), (486, "quota"), (508, "ports"), (401, "credentials"), (400, "error")]
)
async def test_a_refusal_is_known_by_its_reason_while_stun_works(code: int, reason: str) -> None:
    fake = FakeTurn("secret")
    fake.refuse = code
    async with fake.listening() as port:
        tried = probing(port)
        await tried.round()
        await tried.round()
    assert tried.outcomes["turn", "udp"] == ProbeOutcome(failure=reason)
    assert tried.outcomes["stun", "udp"].failure == ""
    assert tried.failures == {("turn", "udp", reason): 2}


async def test_a_server_that_does_not_know_the_secret_is_not_believed() -> None:
    fake = FakeTurn("another")
    async with fake.listening() as port:
        tried = probing(port)
        await tried.round()
        tried.close()
    assert tried.outcomes["turn", "udp"] == ProbeOutcome(failure="timeout")


async def test_silence_and_nobody_there_fail_both() -> None:
    fake = FakeTurn("secret")
    async with fake.listening() as port:
        tried = probing(port)
        fake.deaf = True
        await tried.round()
        assert tried.outcomes == dict.fromkeys(BOTH, ProbeOutcome(failure="timeout"))
    await tried.round()
    assert tried.outcomes == dict.fromkeys(BOTH, ProbeOutcome(failure="refused"))


@pytest.mark.parametrize("ipv6_relay", [False, True])
async def test_a_relay_of_ipv6_is_asked_for_where_there_is_no_other(ipv6_relay: bool) -> None:  # noqa: FBT001 - a test's case
    fake = FakeTurn("secret")
    async with fake.listening() as port:
        relay_ip = {"relay_ip": "::1"} if ipv6_relay else {}
        await Probe(settings(port, **relay_ip), dict).round()
    wanted = bytes.fromhex("0017 0004 02000000")  # RFC 8656 section 18.6
    assert [wanted in request for request in fake.asked(Method.ALLOCATE)] == [ipv6_relay] * 2


async def test_without_a_secret_only_stun_is_probed() -> None:
    async with FakeTurn("secret").listening() as port:
        tried = probing(port, secret="")
        await tried.round()
    assert tried.outcomes.keys() == {("stun", "udp")}


def test_the_tag_is_the_same_after_a_restart_and_another_for_another_secret() -> None:
    assert probing(1).tag == probing(2).tag
    assert probing(1).tag != probing(1, secret="another").tag
    assert "secret" not in probing(1).tag
    assert probing(1).name.startswith(probing(1).tag)
    assert probing(1).name != probing(1).name


async def test_a_redirect_is_what_a_client_expects_where_there_are_alternate_servers() -> None:
    fake = FakeTurn("secret")
    fake.refuse = 300
    async with fake.listening() as port:
        tried = Probe(settings(port, alternate_server="192.0.2.1:3478"), dict)
        await tried.round()
    assert tried.outcomes["turn", "udp"].failure == ""


@pytest.mark.parametrize(
    ("others", "probed"),
    [
        ({"no_stun": ""}, {"turn"}),
        ({"stun_only": ""}, {"stun"}),
        ({"no_udp_relay": ""}, {"stun"}),
        ({"secure_stun": "", "secret": ""}, set()),
    ],
)
async def test_what_coturn_is_set_not_to_answer_is_not_probed(others: dict[str, str], probed: set[str]) -> None:
    async with FakeTurn("secret").listening() as port:
        tried = Probe(settings(port, **others), dict)
        await tried.round()
    assert tried.outcomes.keys() == {(probe, "udp") for probe in probed}
    assert tried.answered, "the challenge to an Allocate is an answer, too"


async def test_silence_is_no_answer_and_a_refusal_is_one() -> None:
    fake = FakeTurn("secret")
    async with fake.listening() as port:
        tried = probing(port)
        fake.refuse = 486
        await tried.round()
        assert tried.answered
        fake.deaf = True
        await tried.round()
        assert not tried.answered


async def test_the_separator_of_the_user_name_is_the_configured_one() -> None:
    fake = FakeTurn("secret")
    async with fake.listening() as port:
        tried = Probe(settings(port, rest_api_separator="-"), dict)
        await tried.round()
    assert f"-{tried.name}-udp".encode() in fake.asked(Method.ALLOCATE)[1]
    assert tried.outcomes["turn", "udp"].failure == ""
