"""The client of the admin socket against a server that misbehaves in every way it is known to, or could."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import pytest

from tests.exporters.prosody.fakes import SERVER_HEADER, SHUTDOWN, Behaviour, Talk, echoing, result
from tests.exporters.prosody.shell import SHORT, connected, fails, saying

if TYPE_CHECKING:
    from pathlib import Path


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
