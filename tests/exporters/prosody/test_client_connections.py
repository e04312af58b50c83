"""The client of the admin socket while the server stops, starts, is away, or cannot be reached."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from exporters.prosody import client
from exporters.prosody.client import AdminShell
from tests.exporters.prosody.fakes import SHUTDOWN, AdminSocket, Behaviour, Talk, echoing
from tests.exporters.prosody.shell import connected, fails
from toolkit.scrape import deadline

if TYPE_CHECKING:
    from pathlib import Path


# Restarts -----------------------------------------------------------------------------------------------------------


async def test_a_restart_between_two_commands_is_not_noticed(tmp_path: Path) -> None:
    async with connected(tmp_path) as (shell, server):
        assert await shell.lua("before") == "before"
        await server.restart()
        assert await shell.lua("after") == "after"
        assert server.connections == 2


async def shutting_down_when_asked(talk: Talk) -> None:
    await talk.open()
    await talk.echo()
    await talk.asked()
    await talk.send(SHUTDOWN)


async def closing_when_asked(talk: Talk) -> None:
    await talk.open()
    await talk.echo()
    await talk.asked()


@pytest.mark.parametrize("behaviour", [shutting_down_when_asked, closing_when_asked])
async def test_a_server_that_stops_and_starts_again_answers_in_the_same_call(
    tmp_path: Path, behaviour: Behaviour
) -> None:
    async with connected(tmp_path, behaviour, echoing) as (shell, server):
        assert await shell.lua("before") == "before"
        assert await shell.lua("after") == "after"
        assert server.connections == 2


async def test_a_shutdown_while_idle_is_not_noticed_once_the_server_is_back(tmp_path: Path) -> None:
    idle, told = asyncio.Event(), asyncio.Event()

    async def shutting_down(talk: Talk) -> None:
        await talk.open()
        await talk.echo()
        await idle.wait()
        await talk.send(SHUTDOWN)
        told.set()

    async with connected(tmp_path, shutting_down, echoing) as (shell, server):
        assert await shell.lua("before") == "before"
        idle.set()
        await told.wait()
        assert await shell.lua("after") == "after"
        assert server.connections == 2


async def test_a_lost_connection_is_opened_once_more_and_not_again_and_again(tmp_path: Path) -> None:
    async def stopping(talk: Talk) -> None:
        await talk.open()
        await talk.send(SHUTDOWN)

    async with connected(tmp_path, shutting_down_when_asked, stopping) as (shell, server):
        assert await shell.lua("before") == "before"
        await fails(shell, "connection_lost", "system-shutdown")
        assert server.connections == 2


async def test_a_closed_shell_opens_a_new_connection(tmp_path: Path) -> None:
    async with connected(tmp_path) as (shell, server):
        assert await shell.lua("a") == "a"
        await shell.close()
        assert await shell.lua("b") == "b"
        assert server.connections == 2


async def test_the_servers_process_id_is_known_while_connected(tmp_path: Path) -> None:
    async with connected(tmp_path) as (shell, _):
        assert shell.peer_pid is None
        await shell.lua("x")
        assert shell.peer_pid == os.getpid()
        await shell.close()
        assert shell.peer_pid is None


async def test_a_connection_that_broke_after_the_answer_hides_the_process_id(tmp_path: Path) -> None:
    async with connected(tmp_path) as (shell, _):
        await shell.lua("x")
        assert shell._connection
        shell._connection.writer.transport.abort()
        await asyncio.sleep(0)  # asyncio closes the file descriptor in the next round, and only then
        await asyncio.sleep(0)
        assert shell.peer_pid is None


# No connection ------------------------------------------------------------------------------------------------------


async def test_no_socket_file(tmp_path: Path) -> None:
    path = tmp_path / "prosody.sock"
    await fails(AdminShell(path), "no_socket", f"{re.escape(str(path))}: start Prosody, enable.*--prosody.socket")


async def test_a_stale_socket_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "prosody.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    await fails(AdminShell(path), "connection_refused", f"nothing listens on {re.escape(str(path))}: start Prosody")


async def test_a_plain_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "prosody.sock"
    path.write_text("not a socket")
    await fails(AdminShell(path), "connection_refused", "nothing listens on .*, or correct --prosody.socket")


async def test_a_folder_is_refused(tmp_path: Path) -> None:
    await fails(AdminShell(tmp_path), "connection_refused", "nothing listens on .*, or correct --prosody.socket")


async def test_a_path_too_long_for_a_socket_says_so(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 120)
    await fails(AdminShell(path), "connection_lost", "AF_UNIX path too long.*--prosody.socket")


async def test_a_path_through_a_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    await fails(AdminShell(tmp_path / "file/prosody.sock"), "connection_lost", "Not a directory.*--prosody.socket")


AS_NOBODY = """
import asyncio, os, sys
from pathlib import Path
from exporters.prosody.client import AdminShell
from toolkit.scrape import TargetError
if os.geteuid() == 0:
    os.setgroups([])
    os.setuid(65534)
try:
    asyncio.run(AdminShell(Path(sys.argv[1])).lua("return 1"))
except TargetError as error:
    print(error.reason, error)
"""


def test_another_user_has_no_permission(tmp_path: Path) -> None:
    path = tmp_path / "prosody.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        path.chmod(0)
        child = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, path], capture_output=True, text=True, check=True, timeout=60
        )
    assert child.stdout == f"permission_denied no permission for {path}: run the exporter as the user prosody\n"


# Backoff ------------------------------------------------------------------------------------------------------------


class Clock:
    """Time that passes only while somebody sleeps."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += max(seconds, 0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(client, "time", made)
    monkeypatch.setattr(asyncio, "sleep", made.sleep)
    return made


async def test_a_server_that_is_away_is_tried_a_few_times_a_second_at_most(tmp_path: Path, clock: Clock) -> None:
    shell = AdminShell(tmp_path / "prosody.sock")
    attempts = 0
    while clock.now < 1060:
        await fails(shell, "no_socket", "start Prosody")
        attempts += 1
    assert 120 <= attempts <= 240


async def test_a_server_that_is_away_is_said_to_be_so_within_the_time_of_the_shortest_scrape(
    tmp_path: Path, clock: Clock
) -> None:
    shell = AdminShell(tmp_path / "prosody.sock")
    for _ in range(20):
        before = clock.now
        await fails(shell, "no_socket", "start Prosody")
        assert clock.now - before < deadline("1")


async def test_the_first_attempt_waits_for_nothing(tmp_path: Path, clock: Clock) -> None:
    await fails(AdminShell(tmp_path / "prosody.sock"), "no_socket", "start Prosody")
    assert clock.now == 1000


async def test_a_server_that_is_back_is_reached_and_its_past_forgotten(tmp_path: Path, clock: Clock) -> None:
    server = AdminSocket(tmp_path / "prosody.sock")
    shell = AdminShell(server.path)
    for _ in range(20):
        await fails(shell, "no_socket", "start Prosody")
    async with server:
        assert await shell.lua("back") == "back"
        back = clock.now
        await server.restart()
        assert await shell.lua("again") == "again"
        assert clock.now == back
    await shell.close()
