"""The client of the admin socket against a server that misbehaves in every way it is known to, or could."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
import sys
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporters.prosody import client
from exporters.prosody.client import REASONS, AdminShell, AnswerParser
from tests.exporters.prosody.fakes import SERVER_HEADER, SHUTDOWN, AdminSocket, Behaviour, Talk, echoing, result
from toolkit.scrape import TargetError, deadline

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

SHORT = 0.05  # seconds; how long the client waits for what never comes


@asynccontextmanager
async def connected(
    tmp_path: Path, *behaviours: Behaviour, patience: float = 5, max_answer_bytes: int = 1024 * 1024
) -> AsyncIterator[tuple[AdminShell, AdminSocket]]:
    async with AdminSocket(tmp_path / "prosody.sock", *behaviours) as server:
        shell = AdminShell(server.path, timeout=patience, max_answer_bytes=max_answer_bytes)
        try:
            yield shell, server
        finally:
            await shell.close()


def saying(text: str | bytes, *, header: str = SERVER_HEADER) -> Behaviour:
    """Behave: answer the first command with this text, then nothing more, without closing."""

    async def behave(talk: Talk) -> None:
        await talk.send(header)
        await talk.asked()
        await talk.send(text)
        await talk.gone()

    return behave


async def fails(shell: AdminShell, reason: str, message: str) -> None:
    """Check that a command fails with this reason, and in one line that matches."""
    with pytest.raises(TargetError) as failure:
        await shell.lua("return 1")
    assert failure.value.reason == reason
    assert reason in REASONS
    assert re.search(message, str(failure.value))
    assert "\n" not in str(failure.value)


# Answers ------------------------------------------------------------------------------------------------------------


async def test_a_command_is_sent_as_raw_lua_and_answered_with_its_value(tmp_path: Path) -> None:
    async with connected(tmp_path) as (shell, server):
        assert await shell.lua("return '<&\"' .. 1") == "return '<&\"' .. 1"
        assert server.asked == [">return '<&\"' .. 1"]


async def test_one_connection_serves_every_command(tmp_path: Path) -> None:
    async with connected(tmp_path) as (shell, server):
        assert [await shell.lua(text) for text in "abc"] == ["a", "b", "c"]
        assert server.connections == 1


async def test_what_a_command_prints_comes_before_its_result(tmp_path: Path) -> None:
    lines = "<repl-output>one </repl-output><repl-output eol='0'>two </repl-output><repl-result>three</repl-result>"
    async with connected(tmp_path, saying(lines)) as (shell, _):
        assert await shell.lua("print 'one'") == "one two three"


async def test_an_answer_in_single_bytes_is_put_together(tmp_path: Path) -> None:
    async def behave(talk: Talk) -> None:
        await talk.open()
        await talk.asked()
        for byte in result("héllo <&> 🙂").encode():
            await talk.send(bytes([byte]))
            await asyncio.sleep(0)
        await talk.gone()

    async with connected(tmp_path, behave) as (shell, _):
        assert await shell.lua("x") == "héllo <&> 🙂"


async def test_commands_at_once_are_answered_in_order_over_one_connection(tmp_path: Path) -> None:
    async with connected(tmp_path) as (shell, server):
        assert await asyncio.gather(*(shell.lua(text) for text in "abcde")) == list("abcde")
        assert server.connections == 1
        assert server.asked == [">a", ">b", ">c", ">d", ">e"]


async def test_white_space_that_keeps_the_connection_alive_is_no_answer(tmp_path: Path) -> None:
    async def behave(talk: Talk) -> None:
        await talk.open()
        while True:
            await talk.send(" \n ")
            await talk.echo()

    async with connected(tmp_path, behave) as (shell, server):
        assert [await shell.lua(text) for text in "ab"] == ["a", "b"]
        assert server.connections == 1


# What the server does wrong -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("behaviour", "reason", "remedy"),
    [
        pytest.param(saying(b"\x00\xff\xfe garbage"), "protocol_error", "another program listening", id="garbage"),
        pytest.param(
            saying("", header="HTTP/1.1 400 Bad Request\r\n\r\n"), "protocol_error", "another program", id="HTTP"
        ),
        pytest.param(saying("", header="<html><body/>"), "protocol_error", "<html>.*another program", id="other XML"),
        pytest.param(saying("<repl-result>a</other>"), "protocol_error", "another program", id="not well-formed"),
        pytest.param(
            saying("", header='<!DOCTYPE a [<!ENTITY b "c"><!ENTITY d "&b;&b;">]><a>&d;</a>'),
            "protocol_error",
            "forbids.*RFC 6120",
            id="entity bomb",
        ),
        pytest.param(
            saying("<repl-result>&undefined;</repl-result>"), "protocol_error", "another program", id="unknown entity"
        ),
        pytest.param(
            saying("<repl-result type='error'>attempt to index a nil value</repl-result>"),
            "error_answer",
            "attempt to index.*look at Prosody's log",
            id="error answer",
        ),
        pytest.param(
            saying("<repl-result type='error'>No module handled this query. Is mod_admin_shell enabled?</repl-result>"),
            "error_answer",
            "enable mod_admin_shell in modules_enabled",
            id="no mod_admin_shell",
        ),
        pytest.param(saying(SHUTDOWN), "connection_lost", r"system-shutdown.*is it stopping\?", id="shutdown"),
        pytest.param(saying("</stream:stream> <junk/>"), "protocol_error", "another program", id="after the end"),
    ],
)
async def test_a_wrong_answer_has_its_reason_and_remedy(
    tmp_path: Path, behaviour: Behaviour, reason: str, remedy: str
) -> None:
    async with connected(tmp_path, behaviour) as (shell, _):
        await fails(shell, reason, remedy)


@pytest.mark.parametrize("half", ["", SERVER_HEADER[:40], SERVER_HEADER, SERVER_HEADER + "<repl-result>ha"])
async def test_half_an_answer_and_a_close_is_a_lost_connection(tmp_path: Path, half: str) -> None:
    async def behave(talk: Talk) -> None:
        await talk.asked()
        await talk.send(half)

    async with connected(tmp_path, behave) as (shell, _):
        await fails(shell, "connection_lost", r"closed.*did it stop\?")


async def test_a_connection_that_breaks_before_the_answer_is_lost(tmp_path: Path) -> None:
    async def behave(talk: Talk) -> None:
        talk.abort()  # the client's header is left unread: the kernel resets

    async with connected(tmp_path, behave) as (shell, _):
        await fails(shell, "connection_lost", r"did (it|Prosody) stop\?")


async def test_an_answer_of_100_mb_is_refused_while_it_arrives(tmp_path: Path) -> None:
    limit, offered = 1024 * 1024, 100 * 1024 * 1024
    talks = []

    async def behave(talk: Talk) -> None:
        talks.append(talk)
        await talk.open()
        await talk.asked()
        await talk.send("<repl-result>")
        while talk.sent < offered:
            await talk.send(b"x" * 65536)

    async with connected(tmp_path, behave, echoing, max_answer_bytes=limit) as (shell, _):
        await fails(shell, "protocol_error", f"longer than {limit} bytes; which module.*grows without bound")
        assert limit <= talks[0].sent < limit + 1024 * 1024  # the rest is what kernel and event loop hold on the way
        assert await shell.lua("next") == "next"


async def test_many_answers_below_the_limit_are_never_too_much(tmp_path: Path) -> None:
    async with connected(tmp_path, max_answer_bytes=1000) as (shell, server):
        for _ in range(10):
            assert await shell.lua("x" * 500) == "x" * 500
        assert server.connections == 1


# Silence ------------------------------------------------------------------------------------------------------------


async def never_opening(talk: Talk) -> None:
    await talk.gone()


async def never_answering(talk: Talk) -> None:
    await talk.open()
    await talk.gone()


async def never_finishing(talk: Talk) -> None:
    await talk.open()
    await talk.asked()
    await talk.send("<repl-result>ha")
    await talk.gone()


@pytest.mark.parametrize("behaviour", [never_opening, never_answering, never_finishing])
async def test_a_server_that_hangs_is_a_timeout_and_a_later_command_connects_again(
    tmp_path: Path, behaviour: Behaviour
) -> None:
    async with connected(tmp_path, behaviour, echoing, patience=SHORT) as (shell, server):
        await fails(shell, "timeout", f"no answer from {re.escape(str(server.path))} in {SHORT} s.*look at its CPU")
        shell.timeout = 5
        assert await shell.lua("after") == "after"
        assert server.connections == 2


class Late:
    """Behave: answer the first command only when told to, and every next one at once."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()

    async def __call__(self, talk: Talk) -> None:
        await talk.open()
        await talk.asked()
        self.asked.set()
        await self.may_answer.wait()
        await talk.send(result("late"))
        while True:
            await talk.echo()


async def test_a_late_answer_is_not_taken_for_the_next_commands(tmp_path: Path) -> None:
    late = Late()
    async with connected(tmp_path, late, echoing, patience=SHORT) as (shell, _):
        await fails(shell, "timeout", "no answer")
        late.may_answer.set()
        shell.timeout = 5
        assert await shell.lua("next") == "next"


async def test_a_cancelled_command_leaves_no_answer_behind(tmp_path: Path) -> None:
    late = Late()
    async with connected(tmp_path, late, echoing) as (shell, _):
        command = asyncio.create_task(shell.lua("cancelled"))
        await late.asked.wait()
        command.cancel()
        with pytest.raises(asyncio.CancelledError):
            await command
        late.may_answer.set()
        assert await shell.lua("next") == "next"


async def test_an_answer_too_many_is_not_taken_for_the_next_commands(tmp_path: Path) -> None:
    async with connected(tmp_path, saying(result("one") + result("two")), echoing) as (shell, _):
        await fails(shell, "protocol_error", "more than one answer")
        assert await shell.lua("next") == "next"


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


# The parser by itself -----------------------------------------------------------------------------------------------

XML_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\r", exclude_categories=("Cc", "Cs")))
ANSWERS = st.lists(st.tuples(st.booleans(), st.lists(XML_TEXT, min_size=1, max_size=4)), max_size=4)


@given(ANSWERS, st.lists(st.integers(0, 1000)))
def test_any_chunking_of_a_stream_gives_the_same_answers(
    answers: list[tuple[bool, list[str]]], cuts: list[int]
) -> None:
    stream = SERVER_HEADER
    for is_error, texts in answers:
        *output, last = map(escape, texts)
        stream += "".join(f"<repl-output>{line}</repl-output> " for line in output)
        stream += (
            f"<repl-result type='error'>{last}</repl-result>" if is_error else f"<repl-result>{last}</repl-result>"
        )
    data = stream.encode()
    edges = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    parser = AnswerParser(max_bytes=len(data))
    seen = [answer for start, end in pairwise(edges) for answer in parser.feed(data[start:end])]
    assert seen == [(is_error, "".join(texts[:-1]), texts[-1]) for is_error, texts in answers]


def feed(data: bytes) -> None:
    """Feed a parser in two parts; nothing but a TargetError may come out."""
    parser = AnswerParser(max_bytes=10_000)
    try:
        for part in (data[: len(data) // 2], data[len(data) // 2 :]):
            for answer in parser.feed(part):
                assert isinstance(answer.is_error, bool)
                assert isinstance(answer.printed + answer.result, str)
    except TargetError as error:
        assert error.reason in REASONS  # noqa: PT017 - most inputs raise, not all
        assert "\n" not in str(error)  # noqa: PT017 - as above


MARKUP = ["<repl-result>", "</repl-result>", "<repl-output a='", "'>", "</repl-output>", "<!--", "<![CDATA[", "]]>"]
MARKUP += [
    "<stream:error>",
    "</stream:error>",
    "</stream:stream>",
    "<?x",
    "?>",
    "&#0;",
    "&lt;",
    "<!DOCTYPE",
    "<a",
    "/>",
]


@given(st.binary())
def test_arbitrary_bytes_raise_nothing_but_a_target_error(data: bytes) -> None:
    feed(data)


@given(st.lists(st.sampled_from(MARKUP) | st.text(max_size=3)))
def test_arbitrary_markup_in_a_stream_raises_nothing_but_a_target_error(pieces: list[str]) -> None:
    feed((SERVER_HEADER + "".join(pieces)).encode(errors="surrogatepass"))
