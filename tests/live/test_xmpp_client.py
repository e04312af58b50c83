"""The lab's XMPP client and account maker against a real Prosody; the exporter has no part in it."""

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Literal, get_args

import pytest

from lab.stack import Lab
from lab.users.accounts import PASSWORD, ask, create_accounts
from lab.users.traffic import Traffic
from xmpp.client import XmppClient
from xmpp.errors import AuthenticationError, ConnectionEndedError, ResumptionError, TlsError
from xmpp.login import TransportName
from xmpp.session import Show

# Without mod_limits: it would take the read timeout away from every connection that has ever sent 10 bytes at once.
IMPATIENT = """network_settings = { read_timeout = 1 }; smacks_hibernation_time = 1;
modules_disabled = { "offline"; "s2s"; "limits" }"""
both_transports = pytest.mark.parametrize("transport", get_args(TransportName))


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        lab.start(lab.prosody)
        yield lab


@pytest.fixture
async def traffic(lab: Lab) -> AsyncIterator[Traffic]:
    async with Traffic(lab.prosody.endpoints(), lab.prosody.admin_socket) as traffic:
        yield traffic


@pytest.fixture(scope="module")
def impatient_lab() -> Iterator[Lab]:
    """Run a Prosody that finds a dead connection, and forgets its session, within seconds."""
    with Lab(prosody_config=IMPATIENT) as lab:
        lab.start(lab.prosody)
        yield lab


@pytest.fixture
async def impatient(impatient_lab: Lab) -> AsyncIterator[Traffic]:
    async with Traffic(impatient_lab.prosody.endpoints(), impatient_lab.prosody.admin_socket) as traffic:
        yield traffic


async def logged_in(traffic: Traffic, transport: TransportName = "websocket") -> XmppClient:
    (user,) = await traffic.accounts(1)
    client = traffic.client(user)
    traffic.clients.append(client)
    await client.login(transport)
    return client


@both_transports
@pytest.mark.parametrize("management", ["off", "on", "resumable"])
async def test_a_login_is_one_iq_and_one_presence_each_way(
    traffic: Traffic, transport: TransportName, management: Literal["off", "on", "resumable"]
) -> None:
    (user,) = await traffic.accounts(1)
    client = traffic.client(user)
    traffic.clients.append(client)
    await client.login(transport, management=management)
    assert client.sent == client.received == Counter(iq=1, presence=1)
    assert (client.management is None) == (management == "off")
    assert bool(client.management and client.management.id) == (management == "resumable")


@both_transports
async def test_a_wrong_password_is_an_authentication_error(traffic: Traffic, transport: TransportName) -> None:
    (user,) = await traffic.accounts(1)
    with pytest.raises(AuthenticationError, match="not-authorized"):
        await traffic.client(user, password="wrong").login(transport)
    assert await traffic.census() == (0, 0)


async def test_the_tcp_server_must_have_the_labs_certificate(lab: Lab, traffic: Traffic) -> None:
    await logged_in(traffic, "tcp")
    with Lab() as other:
        _ = other.authority
        async with Traffic(lab.prosody.endpoints(other.directory / "ca.pem"), lab.prosody.admin_socket) as wary:
            with pytest.raises(TlsError):
                await logged_in(wary, "tcp")


async def test_a_message_crosses_from_websocket_to_tcp(traffic: Traffic) -> None:
    sender, receiver = await logged_in(traffic, "websocket"), await logged_in(traffic, "tcp")
    await sender.message(receiver.full_jid, "<&> grüezi")
    await receiver.wait_until(lambda: receiver.received["message"] == 1, "the message")
    assert receiver.inbox[-1].findtext("{jabber:client}body") == "<&> grüezi"


async def test_a_call_proposal_arrives_as_one(traffic: Traffic) -> None:
    caller, callee = await logged_in(traffic), await logged_in(traffic)
    await caller.propose_call(callee.full_jid)
    await callee.wait_until(lambda: callee.received["message"] == 1, "the call")
    assert callee.inbox[-1].find("{urn:xmpp:jingle-message:0}propose") is not None


@pytest.mark.parametrize("show", ["away", "chat", "dnd", "xa", "unavailable", "available"])
async def test_a_presence_is_reflected_as_it_was_sent(traffic: Traffic, show: Show) -> None:
    client = await logged_in(traffic)
    await client.presence(show)
    last = client.inbox[-1]
    said = last.get("type") or last.findtext("{jabber:client}show") or "available"
    assert said == show
    assert client.shows == Counter(["available", show])


async def test_push_can_be_registered_and_withdrawn(traffic: Traffic) -> None:
    client = await logged_in(traffic)
    await client.enable_push("push.example", "token", secret="s", push_type="voip")
    await client.disable_push("push.example", "token")


@both_transports
async def test_a_broken_session_hibernates_and_is_resumed_with_what_it_missed(
    traffic: Traffic, transport: TransportName
) -> None:
    sleeper, friend = await logged_in(traffic, transport), await logged_in(traffic)
    await sleeper.settle()
    sleeper.abort()
    await traffic.until_noticed(2, 1)
    await friend.message(sleeper.full_jid, "missed")
    await friend.settle()
    await sleeper.resume()
    await sleeper.wait_until(lambda: sleeper.received["message"] == 1, "the missed message")
    await sleeper.settle()
    assert await traffic.census() == (2, 0)
    assert friend.received["message"] == 0  # no error came back


async def test_what_the_server_never_got_is_sent_again_once(traffic: Traffic, monkeypatch: pytest.MonkeyPatch) -> None:
    sleeper, friend = await logged_in(traffic), await logged_in(traffic)
    await sleeper.settle()

    async def lose(_: str) -> None: ...

    monkeypatch.setattr(sleeper._transport, "send", lose)
    await sleeper.message(friend.full_jid, "lost on the way")
    sleeper.abort()
    await sleeper.resume()
    await sleeper.settle()
    await friend.settle()
    assert friend.received["message"] == 1
    assert sleeper.sent["message"] == 2


async def test_a_session_without_resumption_is_gone_when_its_connection_breaks(traffic: Traffic) -> None:
    (user,) = await traffic.accounts(1)
    client = traffic.client(user)
    await client.login(management="on")
    client.abort()
    await traffic.until_noticed(0, 0)
    with pytest.raises(ResumptionError, match="not resumable"):
        await client.resume()


@both_transports
async def test_a_clean_disconnect_leaves_nothing_to_resume(traffic: Traffic, transport: TransportName) -> None:
    client = await logged_in(traffic, transport)
    await client.disconnect()
    assert await traffic.census() == (0, 0)
    assert not client.connected


async def test_a_waiting_client_learns_that_the_server_ended_its_stream(lab: Lab, traffic: Traffic) -> None:
    client = await logged_in(traffic)
    await ask(lab.prosody.admin_socket, f'c2s:close("{client.full_jid}")')
    with pytest.raises(ConnectionEndedError, match="the server"):
        await client.wait_until(lambda: False, "what never comes")
    with pytest.raises(ConnectionEndedError, match="the server"):
        client.vanish()


@both_transports
async def test_an_idle_client_outlives_the_read_timeout_and_a_vanished_one_expires(
    impatient: Traffic, transport: TransportName
) -> None:
    idle, ghost = await logged_in(impatient, transport), await logged_in(impatient, transport)
    await ghost.settle()
    ghost.vanish()
    await impatient.until_noticed(2, 1)  # the read timeout pinged once, without an answer
    await impatient.until_noticed(1, 0)  # the hibernation is over
    with pytest.raises(ResumptionError, match="item-not-found"):
        await ghost.resume()
    await idle.ping()


async def test_accounts_are_made_once_and_keep_their_password(lab: Lab, traffic: Traffic) -> None:
    for _ in range(2):
        await create_accounts(lab.prosody.admin_socket, "commeazy.com", 1001, "bulk")
    last = XmppClient(traffic.server, "bulk1001", PASSWORD, http=traffic._http[0])
    await last.login()
    await last.disconnect()
    with pytest.raises(AuthenticationError):
        await traffic.client("bulk1002").login()
