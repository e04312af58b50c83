"""Our side of HTTP/2 against frames that a test makes by hand: limits, endings and protocol errors."""

from __future__ import annotations

import asyncio
import logging
import struct
from typing import TYPE_CHECKING

import pytest

from gateway import channel, http2
from gateway.timing import Timing
from lab.fakes import apns, fcm
from lab.fakes import http2 as frames
from lab.fakes.http2 import Behaviour, Request
from tests.gateway.conftest import ANDROID, Start, once, until, withhold
from toolkit.logs import Logfmt

if TYPE_CHECKING:
    from lab.fakes.apns import FakeApns
    from lab.fakes.fcm import FakeFcm


@pytest.mark.parametrize("size", [0, 1, 100, 4096, 65_536])
async def test_the_peers_header_table_may_have_any_size(start: Start, apple: FakeApns, size: int) -> None:
    apple.behaviour = Behaviour(settings={frames.HEADER_TABLE_SIZE: size})
    caller = await start()
    for _ in range(3):
        assert (await caller.push()).outcome == "sent"
    assert len(apple.connections) == 1


@pytest.mark.parametrize("size", [1, 30, 1000])
async def test_a_body_larger_than_a_streams_window_is_sent_in_pieces(start: Start, google: FakeFcm, size: int) -> None:
    google.behaviour = Behaviour(settings={frames.INITIAL_WINDOW_SIZE: size}, stream_grants=True)
    caller = await start()
    node = "n" * min(1500, 100 * size)  # each piece takes a round trip
    pushes = [caller.push(node, "message") for _ in range(3)]
    assert {answer.outcome for answer in await asyncio.gather(*pushes)} == {"sent"}
    assert [push.node for push in google.received] == [node] * 3


@pytest.mark.parametrize(
    ("setting", "value"),
    [(frames.MAX_FRAME_SIZE, 0), (frames.MAX_FRAME_SIZE, 2**24), (frames.INITIAL_WINDOW_SIZE, 2**31), (2, 7)],
)
async def test_settings_that_are_forbidden_end_the_connection_and_no_call(
    start: Start, apple: FakeApns, setting: int, value: int
) -> None:
    caller = await start()
    kept: list[Request] = []
    apple.answer = withhold(kept)
    call = asyncio.create_task(caller.push())
    await until(lambda: len(kept) == 1)
    apple.answer = apns.accept
    kept[0].connection.set(setting, value)
    assert (await call).outcome == "sent"
    assert len(apple.connections) == 2


def answered(*answers: tuple[int, int, bytes]) -> object:
    """Answer a request with these frames, each as (type, flags, payload)."""

    def answer(request: Request) -> None:
        for kind, flags, payload in answers:
            request.connection.send(kind, flags, request.stream_id, payload)

    return answer


END_HEADERS, END_STREAM = frames.END_HEADERS, frames.END_STREAM
STATUS_200 = b"\x88"  # RFC 7541, Appendix A


@pytest.mark.parametrize(
    "answer",
    [
        answered((frames.HEADERS, END_HEADERS | END_STREAM, b"\xff\xff\xff")),  # no HPACK
        answered((frames.HEADERS, END_HEADERS | END_STREAM, b"\x00\x01x\x01y")),  # no :status
        answered((frames.HEADERS, END_HEADERS | END_STREAM, b"\x00\x07:status\x03abc")),  # a status that is none
        answered((frames.HEADERS, END_HEADERS | END_STREAM, b"\x00\x07:status\x03\xb2\xb2\xb2")),
        answered((frames.HEADERS, END_HEADERS | END_STREAM, STATUS_200 + STATUS_200)),
        answered((frames.DATA, END_STREAM, b"{}")),  # a body without a header
        answered((5, END_HEADERS, struct.pack(">L", 2) + STATUS_200)),  # PUSH_PROMISE
        answered((9, END_HEADERS, b"")),  # a CONTINUATION of nothing
        answered((frames.HEADERS, END_HEADERS | frames.PADDED, b"\xff" + STATUS_200)),  # padding beyond the frame
        answered((frames.WINDOW_UPDATE, 0, struct.pack(">L", 0))),
        lambda request: apns.refuse(request, 408, ""),
        lambda request: apns.refuse(request, 421, ""),
        lambda request: apns.refuse(request, 400, "IdleTimeout"),
        lambda request: apns.refuse(request, 503, "Shutdown"),
    ],
)
async def test_what_is_no_answer_is_tried_again(start: Start, apple: FakeApns, answer: object) -> None:
    caller = await start()
    apple.answer = once(answer)  # type: ignore[arg-type]
    assert (await caller.push()).outcome == "sent"
    assert len({push.id for push in apple.received}) == 1


async def test_a_good_answer_in_one_piece_with_a_bad_frame_is_not_lost(start: Start, apple: FakeApns) -> None:
    caller = await start()
    kept: list[Request] = []
    apple.answer = withhold(kept)
    call = asyncio.create_task(caller.push())
    await until(lambda: len(kept) == 1)
    apns.accept(kept[0])
    kept[0].connection.set(frames.MAX_FRAME_SIZE, 0)  # both are read at once
    assert (await call).outcome == "sent"
    assert len(apple.received) == 1


@pytest.mark.parametrize("ending", ["reset", "kill", "goaway", "never"])
async def test_a_call_that_was_accepted_is_not_sent_again_when_the_rest_of_the_answer_is_lost(
    start: Start, google: FakeFcm, ending: str
) -> None:
    """The header said 200; the body that was still to come says nothing that is needed."""
    caller = await start(workings={"timing": Timing(idle=0.2, awaiting=0.2, pong=3, patience=0.4)})

    def answer(request: Request) -> None:
        request.connection.send(frames.HEADERS, END_HEADERS, request.stream_id, STATUS_200)
        ends = {
            "reset": request.reset,
            "kill": request.connection.kill,
            "goaway": lambda: request.connection.goaway(0),  # as if it had not looked at the request
            "never": lambda: None,
        }
        asyncio.get_running_loop().call_later(0.1, ends[ending])

    google.answer = answer
    assert (await caller.push(ANDROID, "call")).outcome == "sent"
    assert len(google.received) == 1


async def test_a_connection_that_ends_does_not_wait_for_what_nobody_needs(start: Start, google: FakeFcm) -> None:
    """Else an answer without an end would keep it forever, and no more than four are allowed."""
    caller = await start()
    google.answer = lambda request: request.connection.send(frames.HEADERS, END_HEADERS, request.stream_id, STATUS_200)
    assert (await caller.push(ANDROID, "call")).outcome == "sent"
    left = google.live[0]
    left.goaway()
    await until(lambda: not left.open)


async def test_an_answer_before_the_body_was_sent_whole_counts(start: Start, google: FakeFcm) -> None:
    """A server that knows enough need not read the rest (RFC 9113, 8.1)."""
    google.behaviour = Behaviour(settings={frames.INITIAL_WINDOW_SIZE: 10}, on_headers=fcm.accept)
    caller = await start()
    assert (await caller.push(ANDROID, "message")).outcome == "sent"
    assert len(google.connections) == 1


async def test_a_goaway_is_logged_with_its_code_and_text_but_no_token(
    start: Start, apple: FakeApns, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await start()
    said = b'{"reason":"BadCertificate"} \n ' + b"a1b2c3d4" * 8
    apple.live[0].goaway(code=0x2, said=said)
    await until(lambda: len(apple.connections) == 2)
    (line,) = [Logfmt().format(one) for one in caplog.records if one.msg == "connection to provider ended"]
    assert "reason=goaway code=INTERNAL_ERROR" in line
    assert "BadCertificate" in line
    assert "a1b2" not in line


async def test_a_peer_that_asks_for_calm_gets_it(
    start: Start, apple: FakeApns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel, "CALM", 0.8)
    caller = await start()
    apple.live[0].goaway(code=0xB)
    await until(lambda: caller.gateway.handlers["voip"].channel.opened is None)
    call = asyncio.create_task(caller.push())
    await asyncio.sleep(0.3)
    assert len(apple.connections) == 1
    assert (await call).outcome == "sent"  # but no call is lost to that


async def test_a_connection_whose_stream_ids_are_used_up_is_replaced(
    start: Start, apple: FakeApns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http2, "LAST_STREAM_ID", 5)
    caller = await start()
    for _ in range(6):
        assert (await caller.push()).outcome == "sent"
    assert [max(connection.streams) for connection in apple.connections[:2]] == [5, 5]


async def test_3000_requests_on_one_connection_leave_nothing_behind(start: Start, apple: FakeApns) -> None:
    caller = await start()
    for _ in range(30):
        answers = await asyncio.gather(*(caller.push() for _ in range(100)))
        assert {answer.outcome for answer in answers} == {"sent"}
    assert len(apple.connections) == 1
    connection = caller.gateway.handlers["voip"].channel._current
    assert connection is not None
    assert not connection._h2.streams
    assert not connection._streams


async def test_answers_far_beyond_every_window_are_read(start: Start, apple: FakeApns) -> None:
    caller = await start()
    apple.answer = lambda request: request.respond(400, b'{"reason":"PayloadEmpty"}' + b" " * 15_000)
    for _ in range(10):
        assert (await caller.push()).outcome == "rejected"
    assert len(apple.connections) == 1
