"""The cheap users of `make scale` on a real Prosody: they are there, write, come back, and are counted."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from lab.running.server import Workspace
from lab.scale.__main__ import main
from lab.scale.crowds import Crowds, Entrance, Totals
from lab.servers.prosody import DOMAIN, Prosody
from lab.users.accounts import PASSWORD, ask, create_accounts, username

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

USERS = 20
SLEEPERS = 4
PATIENCE = 120.0


@pytest.fixture(scope="module")
def prosody() -> Iterator[Prosody]:
    with Workspace() as lab:
        prosody = Prosody(lab)
        prosody.start()
        asyncio.run(create_accounts(prosody.admin_socket, DOMAIN, USERS))
        yield prosody


@pytest.fixture
def users(prosody: Prosody) -> Iterator[Crowds]:
    place = Entrance(DOMAIN, [("127.0.0.1", prosody.http_port)], "/xmpp-websocket", "localhost", "", loopback=True)
    accounts = [(username(number + 1), PASSWORD) for number in range(USERS)]
    with Crowds(place, accounts, SLEEPERS / USERS, prosody.lab.directory / "crowd.log") as crowds:
        yield crowds


def until(crowds: Crowds, holds: Callable[[Totals], bool]) -> Totals:
    """Return the totals once something holds."""
    deadline = time.monotonic() + PATIENCE
    while not holds(totals := crowds.totals()):
        assert time.monotonic() < deadline, totals
        time.sleep(0.1)
    return totals


def census(prosody: Prosody) -> tuple[int, int]:
    """Return how many sessions Prosody has, and how many of them hibernate."""
    count = (
        "> local n, h = 0, 0; for _, s in pairs(prosody.full_sessions) do n = n + 1 "
        "if s.hibernating then h = h + 1 end end; return true, n .. ' ' .. h"
    )
    sessions, asleep = asyncio.run(ask(prosody.admin_socket, count)).removeprefix("OK: ").split()
    return int(sessions), int(asleep)


def test_users_are_there_write_lose_their_connections_and_come_back_and_no_message_is_lost(
    prosody: Prosody, users: Crowds
) -> None:
    users.order("rates", at_once=USERS)
    users.order("enter")
    totals = until(users, lambda now: now.phases["open"] == USERS - SLEEPERS and now.phases["asleep"] == SLEEPERS)
    assert totals.counts["logins"] == USERS
    assert len(totals.login_seconds) == USERS
    deadline = time.monotonic() + PATIENCE
    while census(prosody) != (USERS, SLEEPERS):
        assert time.monotonic() < deadline, census(prosody)

    users.order("forget")
    users.order("rates", messages=50, breaks=5, calls=2)
    until(users, lambda now: now.counts["sent"] > 50 and now.counts["resumed"] > 3 and now.counts["calls"] > 1)
    users.order("rates", messages=0, breaks=0, calls=0)
    totals = until(users, lambda now: now.phases["open"] == USERS - SLEEPERS and now.phases["asleep"] == SLEEPERS)
    totals = until(users, lambda now: now.counts["delivered"] == now.counts["sent"])
    assert len(totals.message_seconds) == totals.counts["delivered"] - totals.counts["delivered late"]
    assert all(seconds > 0 for seconds in totals.message_seconds)

    users.order("forget")
    prosody.kill()
    until(users, lambda now: now.phases["open"] == 0)
    prosody.start()
    totals = until(users, lambda now: now.phases["open"] == USERS - SLEEPERS)
    assert totals.counts["logins"] == USERS - SLEEPERS, "a restarted server knows no session that could be resumed"


def aim(prosody: Prosody, folder: Path, password: str, patience: int) -> int:
    """Let the accounts use the door of this Prosody as somebody else's; return the exit code."""
    file = folder / "accounts"
    file.write_text("".join(f"{username(number + 1)}@{DOMAIN} {password}\n" for number in range(USERS)))
    door = f"ws://127.0.0.1:{prosody.http_port}/xmpp-websocket"
    times = ["--seconds", "2", "--patience", str(patience)]
    return main(["--target", door, "--accounts", str(file), "--users", str(USERS), *times])


def test_a_target_is_judged_by_what_its_users_get(
    prosody: Prosody, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = aim(prosody, tmp_path, PASSWORD, 120)
    printed = capsys.readouterr()
    assert "kept      no message is lost" in printed.out, printed
    assert "kept      no connection is lost" in printed.out, printed
    assert code == ("NOT KEPT" in printed.out), printed  # a slow machine may break the promise about speed
    assert PASSWORD not in printed.out + printed.err


def test_a_target_that_lets_nobody_in_is_given_up(
    prosody: Prosody, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert aim(prosody, tmp_path, "a wrong password", 1) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith(f"scale failed: only 0 of {USERS} users are in"), printed
    assert "a wrong password" not in printed.out + printed.err
