"""The traffic generator's totals against what a real Prosody counted itself, stanza by stanza."""

import asyncio
import json
import re
import signal
import sys
from collections.abc import AsyncIterator, Iterator

import pytest

from lab.stack import Lab
from lab.users.accounts import ask
from lab.users.traffic import Mix, Traffic, Truth
from xmpp.errors import XmppError

# A second opinion that shares nothing with the exporter: it counts in the stanza filters of every later connection.
COUNT = """> prosody.seen = {}; local filters = require "prosody.util.filters";
local function count(direction) return function(stanza)
    local ns, seen = stanza.attr.xmlns, prosody.seen;
    if not ns or ns == "jabber:client" then
        local key = direction .. ":" .. stanza.name; seen[key] = (seen[key] or 0) + 1;
    end
    return stanza;
end end
filters.add_filter_hook(function(session)
    filters.add_filter(session, "stanzas/in", count("in"), 1);
    filters.add_filter(session, "stanzas/out", count("out"), 1);
end);
return true, "counting" """
READ = '> return true, require "prosody.util.json".encode(prosody.seen)'
KINDS = ("message", "presence", "iq")


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        lab.start(lab.prosody)
        yield lab


@pytest.fixture
async def traffic(lab: Lab) -> AsyncIterator[Traffic]:
    await ask(lab.prosody.admin_socket, COUNT)
    async with Traffic(lab.prosody.endpoints(), lab.prosody.admin_socket, seed=1) as traffic:
        yield traffic


async def counted_by_the_server(lab: Lab) -> dict[str, int]:
    seen: dict[str, int] = json.loads((await ask(lab.prosody.admin_socket, READ)).removeprefix("OK: "))
    return {key: count for key, count in seen.items() if key.split(":")[1] in KINDS}


def as_the_server_would(truth: Truth) -> dict[str, int]:
    told = {f"in:{kind}": truth.sent[kind] for kind in KINDS} | {f"out:{kind}": truth.received[kind] for kind in KINDS}
    return {key: count for key, count in told.items() if count}


async def test_a_held_mix_is_what_the_server_has(lab: Lab, traffic: Traffic) -> None:
    mix = Mix(websocket=12, tcp=4, hibernated=3, force_quit=2, vanished=1, away=5, failed_logins=3)
    truth = await traffic.hold(mix)
    assert truth.sessions.total() == 14
    assert truth.hibernated == 3
    assert truth.presence == {"away": 5, "available": 9}
    assert truth.authentications == {"success": 16, "failure": 3}
    assert await traffic.census() == (14, 3)
    assert await counted_by_the_server(lab) == as_the_server_would(truth)


async def test_two_mixes_stand_side_by_side(traffic: Traffic) -> None:
    await traffic.hold(Mix(websocket=3, hibernated=1))
    await traffic.hold(Mix(tcp=2))
    assert await traffic.census() == (5, 1)


async def test_the_same_seed_makes_the_same_mix(lab: Lab) -> None:
    truths = []
    for _ in range(2):
        async with Traffic(lab.prosody.endpoints(), lab.prosody.admin_socket, seed=7) as traffic:
            truths.append(await traffic.hold(Mix(websocket=5, tcp=5, force_quit=4)))
    assert truths[0] == truths[1]


async def test_churn_leaves_nothing_behind_and_every_stanza_is_accounted_for(lab: Lab, traffic: Traffic) -> None:
    truth = await traffic.churn(rate=40, seconds=3)
    assert truth.ends.total() + truth.authentications["failure"] == 120
    assert truth.authentications["success"] == truth.ends.total() + truth.resumed
    assert min(truth.resumed, truth.ends["force_quit"], truth.ends["clean"], truth.authentications["failure"]) > 0
    assert await traffic.census() == (0, 0)
    assert await counted_by_the_server(lab) == as_the_server_would(truth)


async def test_churn_says_in_one_error_that_the_server_went_away(lab: Lab, traffic: Traffic) -> None:
    churn = asyncio.create_task(traffic.churn(rate=40, seconds=60))
    while (await traffic.census())[0] == 0:  # noqa: ASYNC110 - the event is on the server, it has to be asked
        await asyncio.sleep(0.02)
    lab.prosody.stop()
    with pytest.raises(XmppError):
        await churn


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_program_disconnects_everybody_on_a_signal_and_names_nobody(lab: Lab, number: signal.Signals) -> None:
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "lab.users.wander", "--users=8", "--tcp-users=2", "--rate=100"),
        *(
            f"--websocket-url={lab.prosody.websocket_url}",
            f"--tcp-address=127.0.0.1:{lab.prosody.c2s_port}",
        ),
        *(f"--admin-socket={lab.prosody.admin_socket}", f"--tls-ca={lab.directory / 'ca.pem'}"),
        stderr=asyncio.subprocess.PIPE,
    )
    assert program.stderr is not None
    first = await program.stderr.readline()
    program.send_signal(number)
    rest = await program.stderr.read()
    assert await program.wait() == 0
    assert "logins=" in first.decode()
    assert "stopped: connected=0" in rest.decode()
    assert not re.search(rb"@|user\d", first + rest)
    assert "OK: 0" in await ask(
        lab.prosody.admin_socket,
        "> local n = 0; for _, s in pairs(prosody.full_sessions) do if not s.hibernating then n = n + 1 end end; "
        "return true, ('%d'):format(n)",
    )


async def test_the_program_ends_by_itself_after_its_duration(lab: Lab) -> None:
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "lab.users.wander", "--users=2", "--tcp-users=0", "--duration=0.5"),
        *(
            f"--websocket-url={lab.prosody.websocket_url}",
            f"--tcp-address=127.0.0.1:{lab.prosody.c2s_port}",
        ),
        f"--admin-socket={lab.prosody.admin_socket}",
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert await program.wait() == 0
