"""Basic authentication (RFC 7617) against bcrypt hashes, as aiohttp middleware. It reads no file."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import os
from typing import TYPE_CHECKING

import bcrypt
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp.typedefs import Handler

_BCRYPT_READS = 72  # bytes of a password; bcrypt ignores the rest, and its Python package refuses more
MOST_COSTLY = 16  # of a hash; a check at cost 16 takes seconds, and each further step doubles that: 31 would take a day
_MOST_WAITING = 8  # requests of one address whose passwords wait to be checked


class Users:
    """The users who may read the pages.

    Args:
        hashes: bcrypt hash by user name; not empty.

    A correct password is remembered (as a keyed hash, in memory), so that not every scrape runs bcrypt. Passwords are
    checked one at a time, and client addresses take turns: however many wrong passwords one address sends, a request
    from another waits for at most one check of each address before it.
    """

    def __init__(self, hashes: Mapping[str, str]) -> None:
        self._hashes = {name: value.encode() for name, value in hashes.items()}
        # An unknown user is checked against the most expensive hash, so that the time does not tell who is known.
        self._decoy = max(self._hashes.values(), key=lambda value: value[4:6])  # $2b$<cost>$
        self._secret = os.urandom(32)
        self._seen: dict[str, bytes] = {}
        self._one_at_a_time = asyncio.Lock()  # a burst of wrong passwords takes one core, not all
        self._queues: dict[str | None, _Queue] = {}

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer 401 on every page unless the request comes from a user."""
        credentials = _credentials(request.headers.get("Authorization", ""))
        if credentials is None or not await self._allowed(request, *credentials):
            return web.Response(
                status=401,
                text="401: Unauthorized",
                headers={"WWW-Authenticate": 'Basic realm="exporter", charset="UTF-8"'},
            )
        return await handler(request)

    async def _allowed(self, request: web.Request, name: str, password: bytes) -> bool:
        digest = hmac.digest(self._secret, password, "sha256")
        if hmac.compare_digest(self._seen.get(name, b""), digest):
            return True
        queue = self._queues.setdefault(request.remote, _Queue())
        if queue.waiting >= _MOST_WAITING:
            raise web.HTTPServiceUnavailable(text="503: too many passwords to check", headers={"Retry-After": "1"})
        queue.waiting += 1
        try:
            async with queue.turn, self._one_at_a_time:
                if request.transport is None or request.transport.is_closing():
                    return False  # the client has gone
                right = await asyncio.to_thread(_matches, password, self._hashes.get(name, self._decoy))
        finally:
            queue.waiting -= 1
            if not queue.waiting:
                self._queues.pop(request.remote, None)
        if right and name in self._hashes:
            self._seen[name] = digest
            return True
        return False


class _Queue:
    """The requests of one address that wait for their password check; the first also waits for the address' turn."""

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.waiting = 0


def _matches(password: bytes, hashed: bytes) -> bool:
    try:
        return bcrypt.checkpw(password[:_BCRYPT_READS], hashed)
    except ValueError:  # a NUL byte
        return False


def _credentials(header: str) -> tuple[str, bytes] | None:
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
        return (name.decode(), password) if colon else None
    except (binascii.Error, ValueError):
        return None
