"""What a token endpoint may answer: whose fault it is, in one line, and nothing of its text in the log."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from gateway.credentials import BadKeyError, UnreachableError, fcm
from lab.fakes.fcm import make_account

if TYPE_CHECKING:
    from pathlib import Path

HTML = "<html>\n<h1>Sign in: first</h1>"
Ask = Callable[[int, str], Awaitable[dict[str, Any]]]


@pytest.fixture(scope="module")
def account() -> dict[str, str]:
    """Make one for all tests: its key takes long."""
    made: dict[str, str] = json.loads(make_account(""))
    return made


@pytest.fixture
def ask(account: dict[str, str], tmp_path: Path) -> Ask:
    """Ask an endpoint that answers with this status and text for a token."""
    return lambda status, text: _ask({**account}, tmp_path / "account.json", status, text)


async def _ask(account: dict[str, str], file: Path, status: int, text: str) -> dict[str, Any]:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, text=text)

    app = web.Application()
    app.router.add_post("/token", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    account["token_uri"] = f"http://127.0.0.1:{runner.addresses[0][1]}/token"

    def mint() -> dict[str, Any]:
        file.write_text(json.dumps(account))
        return fcm(str(file))

    try:
        return await asyncio.to_thread(mint)
    finally:
        await runner.cleanup()


async def test_a_token_is_taken_with_its_time(ask: Ask) -> None:
    made = await ask(200, json.dumps({"access_token": "ya29.x", "expires_in": 1800}))
    assert made["token"] == "ya29.x"
    assert abs(made["expires"] - time.time() - 1800) < 300


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (200, HTML),
        (200, ""),
        (200, "[]"),
        (200, '{"expires_in": 3600}'),
        (200, '{"access_token": "ya29.x"}'),
        (200, '{"access_token": "ya29.x", "expires_in": "soon"}'),
        (200, '{"access_token": "ya29.x", "expires_in": 1e300}'),
        (403, HTML),
        (403, "[]"),
        (404, "{}"),
        (407, "Proxy: who are you?"),
        (502, HTML),
    ],
)
async def test_an_endpoint_that_answers_in_another_way_is_asked_again(ask: Ask, status: int, text: str) -> None:
    """It is a proxy, or in trouble: no person need look at the account, and calls wait for the next attempt."""
    with pytest.raises(UnreachableError) as error:
        await ask(status, text)
    assert str(error.value).startswith("the token endpoint of the service account ")
    assert "html" not in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("word", ["invalid_grant", "invalid_client", "unauthorized_client"])
async def test_an_account_that_is_refused_needs_a_person(ask: Ask, word: str) -> None:
    with pytest.raises(BadKeyError, match=rf"the token endpoint refuses this service account \({word}\)$"):
        await ask(400, json.dumps({"error": word, "error_description": "Account\nnot found"}))
