"""Creates many accounts at once in a running Prosody, through its admin socket; it deletes none.

Deriving a password's key takes Prosody milliseconds, in its one thread. So only the first account is made that
way; the others get a copy of its stored credentials, and all share one password (and one salt, which lets the
clients derive their key once as well).
"""

import asyncio
import re
from pathlib import Path
from xml.sax.saxutils import escape

from xmpp.elements import STREAMS, ElementStream, local_name
from xmpp.errors import XmppError

PASSWORD = "correct horse battery staple"  # noqa: S105 - the lab's accounts guard nothing
BATCH = 500  # accounts a command, so that Prosody can do other work in between
_ADMIN = "xmpp:prosody.im/admin"
_NAME = re.compile(r"[a-z0-9._-]+")

_CREATE_ONE = (
    "> local users = require 'prosody.core.usermanager'; "
    "if users.user_exists('{first}', '{host}') then return true, 'exists' end; "
    "return users.create_user('{first}', '{password}', '{host}')"
)
_COPY_MANY = (
    "> local store = require 'prosody.core.storagemanager'.open('{host}', 'accounts'); "
    "local record, made = store:get('{first}'), 0; "
    "for i = {start}, {stop} do local name = '{prefix}' .. i; "
    "if not store:get(name) then assert(store:set(name, record)); made = made + 1 end end; "
    "return true, ('made ' .. made)"
)


def username(number: int, prefix: str = "user") -> str:
    """Return the name of the account with this number, counted from 1."""
    return f"{prefix}{number}"


async def create_accounts(admin_socket: Path, domain: str, count: int, prefix: str = "user") -> None:
    """Make sure that accounts `<prefix>1` to `<prefix><count>` exist on `domain` with PASSWORD; those that do stay.

    Raises XmppError if the socket cannot be used or Prosody refuses; ValueError for a name that is no plain word.
    """
    if not _NAME.fullmatch(domain) or not _NAME.fullmatch(prefix):
        raise ValueError("domain and prefix may hold small letters, digits, dots, dashes and underscores only")
    if count < 1:
        return
    first = username(1, prefix)
    commands = [_CREATE_ONE.format(first=first, host=domain, password=PASSWORD)]
    commands += [
        _COPY_MANY.format(host=domain, first=first, prefix=prefix, start=start, stop=min(start + BATCH - 1, count))
        for start in range(2, count + 1, BATCH)
    ]
    for command in commands:
        await ask(admin_socket, command)


async def ask(admin_socket: Path, command: str, timeout: float = 30) -> str:  # noqa: ASYNC109 - the one deadline
    """Send one admin shell command, return its result's text. Raises XmppError on an error answer or no answer."""
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_unix_connection(admin_socket)
            try:
                return await _exchange(reader, writer, command)
            finally:
                writer.close()
    except (OSError, TimeoutError) as error:
        raise XmppError(f"the admin socket does not answer: {error or 'time is up'}") from error


async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, command: str) -> str:
    stream = ElementStream()
    writer.write(
        f"<stream:stream xmlns='{_ADMIN}' xmlns:stream='{STREAMS}' version='1.0'>"
        f"<repl-input width='132' repl='0'>{escape(command)}</repl-input>".encode()
    )
    while data := await reader.read(65536):
        for element in stream.feed(data):
            if local_name(element) == "repl-result":
                text = element.text or ""
                if element.get("type") == "error":
                    raise XmppError(f"the admin shell refused: {text}")
                return text
    raise XmppError("the admin socket closed before it answered")
