"""A server that answers wrongly, slowly or not at all is one line, and never more."""

from __future__ import annotations

import base64
import time
from typing import TYPE_CHECKING

import pytest

from check.client import CannotAskError, CredentialsError, HttpClient, NotThereError, authorization
from tests.check.servers import Api, always, serving

if TYPE_CHECKING:
    from http.server import BaseHTTPRequestHandler

    from tests.check.servers import Respond


def _ask(respond: Respond, timeout: float = 5.0) -> str:
    with serving(respond) as url, pytest.raises(CannotAskError) as raised:
        HttpClient(url, timeout=timeout).ask("api")
    line = str(raised.value)
    assert line.startswith(f"{url}/api: ")
    assert line.isprintable()
    return line.removeprefix(f"{url}/api: ")


def _hang(_: BaseHTTPRequestHandler) -> None:
    time.sleep(2)


def _drip(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    for _ in range(40):
        handler.wfile.write(b" ")
        time.sleep(0.05)


def _drip_headers(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    for _ in range(40):
        handler.wfile.write(b"X-More: a\r\n")
        time.sleep(0.05)


def _garbage(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"\x15\x03\x01\x00\x02\x02\x46 not HTTP at all \x1b[31m\r\n\r\n")


def _cut_off(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"data":')


@pytest.mark.parametrize(
    ("respond", "line"),
    [
        (always(200, b"<!DOCTYPE html><title>Log in</title>"), "answers with an HTML page: is this the address"),
        (always(200, b"\x00\xff\xfe"), "answers with no JSON: is this the address of another server?"),
        (always(200, b""), "answers with no JSON"),
        (always(200, b"[" * 100_000), "answers with no JSON"),
        (always(401, b"Unauthorized"), "401, the credentials are missing, wrong, or may not ask this"),
        (always(403, b'{"message": "no"}'), "403, the credentials are missing, wrong, or may not ask this"),
        (always(302, b"", Location="/login"), "302, it sends us to /login: give that address, or log in"),
        (always(404, b"404 page not found"), "404: is this the address of another server?"),
        (always(502, b"<html>Bad Gateway"), "502: is this the address of another server?"),
        (always(422, b'{"status": "error", "error": "bad \\n\\u001b[31m query"}'), "422, bad   [31m query"),
        (always(500, b'{"message": "it\\u0007 broke"}'), "500, it  broke"),
        (_garbage, ""),
        (_cut_off, ""),
    ],
)
def test_what_cannot_be_used_is_one_line(respond: Respond, line: str) -> None:
    assert _ask(respond).startswith(line)


@pytest.mark.parametrize("respond", [_hang, _drip, _drip_headers])
def test_who_takes_too_long_is_left(respond: Respond) -> None:
    began = time.monotonic()
    assert _ask(respond, timeout=0.3) == "timed out after 0.3 s"
    assert time.monotonic() - began < 1.5


def test_nobody_there_is_one_line() -> None:
    with serving(always(200, b"{}")) as url:
        pass
    with pytest.raises(CannotAskError, match="Connection refused"):
        HttpClient(url).ask("api")
    with pytest.raises(CannotAskError, match=r"http://no-such-host\.invalid/api: "):
        HttpClient("http://no-such-host.invalid").ask("api")


def test_only_an_api_that_says_so_itself_has_no_such_thing() -> None:
    with serving(always(404, b'{"message": "Dashboard not found"}')) as url, pytest.raises(NotThereError):
        HttpClient(url).ask("api")
    with serving(always(404, b"404 page not found")) as url, pytest.raises(CannotAskError) as raised:
        HttpClient(url).ask("api")
    assert not isinstance(raised.value, NotThereError)


def test_credentials_are_sent_where_they_belong_and_follow_no_redirect() -> None:
    api = Api({"/there/api": {"data": 1}})
    with serving(api) as url:
        assert HttpClient(f"{url}/there/", authorization("a:b")).ask("api") == {"data": 1}
        with serving(always(302, b"", Location=f"{url}/there/api")) as elsewhere, pytest.raises(CannotAskError):
            HttpClient(elsewhere, authorization("a:b")).ask("api")
    assert api.asked == [("/there/api", "Basic YTpi")]
    assert "YTpi" not in repr(HttpClient("http://h", authorization("a:b")))


def test_credentials_with_a_colon_are_basic_and_others_a_token() -> None:
    assert authorization("") == authorization(" \n") == ""
    assert authorization("glsa_x_1\n") == "Bearer glsa_x_1"
    assert authorization("user:pass: wörd") == f"Basic {base64.b64encode('user:pass: wörd'.encode()).decode()}"


@pytest.mark.parametrize("wrong", ["a:b\nX-Injected: 1", "tok en", "tökén", "tok\x07en"])
def test_credentials_that_no_header_takes_are_refused_without_showing_them(wrong: str) -> None:
    with pytest.raises(CredentialsError) as raised:
        authorization(wrong)
    assert wrong not in str(raised.value)
