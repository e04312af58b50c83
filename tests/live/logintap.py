"""Looks at logins on the wire, beside the synthetic users and knowing nothing of their code: when each stage ended.

It is a door with TLS in front of a Prosody, which makes each stage take a time of its own:

- name: `lookups.c`, inside the system's library, holds and times each look-up.
- tcp: the door's queue is full when the client's SYN comes. The kernel drops it, and sends it again after a second (RFC
  6298 section 2).
- tls: the door waits before its handshake. upgrade, sasl, bind: it holds what ends them.

Times are those of the kernel's monotonic clock, as everywhere on the machine.
"""

from __future__ import annotations

import asyncio
import re
import socket
import subprocess
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from lab.running.clocks import COMPILER
from tests.live.wiretap import Frames

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Mapping

_LOOK_EVERY = 0.01  # seconds


@dataclass
class Login:
    """One connection through the door.

    Attributes:
        took: seconds of each stage that ended, by stage, in their order.
        said: what the client sent in text frames.
        at: when the last stage ended.
    """

    took: dict[str, float]
    at: float
    said: str = ""

    def end(self, stage: str) -> None:
        """End a stage now."""
        now = monotonic()
        self.took[stage] = now - self.at
        self.at = now

    @property
    def plain(self) -> bool:
        """Whether the client bound a resource and did nothing else than leave."""
        return "bind" in self.took and not re.search("<(presence|message|enable|resume)", self.said)


class LoginDoor:
    """The door, and what passed through it.

    Args:
        prosody: the HTTP port of the Prosody behind it.
        secure: has its certificate.
        name: that clients look up to find it.
        holds: seconds by stage. Those of "tcp" are how long its queue stays full: longer than a client needs to connect
            after it has looked up the name, and shorter than its kernel waits for an answer.
        directory: for the library that times look-ups, and what that writes.

    Attributes:
        variables: what the environment of a client needs.
    """

    def __init__(
        self, prosody: int, secure: ssl.SSLContext, name: str, holds: Mapping[str, float], directory: Path
    ) -> None:
        self._prosody, self._secure, self._holds = prosody, secure, holds
        self._logins: list[Login] = []
        self._lookups = directory / "lookups"
        self._lookups.touch()
        library, source = directory / "lookups.so", Path(__file__).with_name("lookups.c")
        command = [COMPILER, "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o", str(library), str(source)]
        subprocess.run(command, check=True)
        self.variables = {
            "LD_PRELOAD": str(library),
            "LAB_NAME": name,
            "LAB_HOLD": f"{holds['name'] * 1e6:.0f}",
            "LAB_LOOKUPS": str(self._lookups),
        }

    @property
    def logins(self) -> list[dict[str, float]]:
        """What each stage took of each login that was nothing else, in seconds."""
        return [login.took for login in self._logins if login.plain]

    @asynccontextmanager
    async def open(self, port: int) -> AsyncIterator[None]:
        """Let clients in at this port, inside the context."""
        with socket.create_server(("127.0.0.1", port), backlog=0) as listener:
            listener.setblocking(False)  # noqa: FBT003 - its only argument
            serving = asyncio.create_task(self._serve(listener))
            try:
                yield
            finally:
                serving.cancel()
                with suppress(asyncio.CancelledError):
                    await serving

    async def _serve(self, listener: socket.socket) -> None:
        """Let in one client after the other."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            while True:
                before = self._looked_up()
                with socket.socket() as filler:  # it takes the only place in the queue
                    filler.setblocking(False)  # noqa: FBT003 - as above
                    filler.connect_ex(listener.getsockname())
                    began, ended = await self._lookup_after(before)
                    await asyncio.sleep(self._holds["tcp"])
                    (await loop.sock_accept(listener))[0].close()
                accepted, _ = await loop.sock_accept(listener)
                login = Login({"name": ended - began}, ended)
                login.end("tcp")
                self._logins.append(login)
                group.create_task(self._pass(accepted, login))

    async def _lookup_after(self, before: tuple[float, float]) -> tuple[float, float]:
        """Wait for the end of the next look-up."""
        while True:
            if (now := self._looked_up()) != before:
                return now
            await asyncio.sleep(_LOOK_EVERY)

    def _looked_up(self) -> tuple[float, float]:
        """When the last look-up began and ended."""
        lines = self._lookups.read_text().splitlines()
        began, ended = map(float, lines[-1].split()) if lines else (0.0, 0.0)
        return began, ended

    async def _pass(self, accepted: socket.socket, login: Login) -> None:
        """Serve one client, until one side ends."""
        await asyncio.sleep(self._holds["tls"])
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        loop = asyncio.get_running_loop()
        try:
            transport, _ = await loop.connect_accepted_socket(lambda: protocol, accepted, ssl=self._secure)
        except OSError:
            return  # the client has gone
        login.end("tls")
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        there, onward = await asyncio.open_connection("127.0.0.1", self._prosody)
        ways = {
            asyncio.create_task(_to_server(reader, onward, login)),
            asyncio.create_task(self._to_client(there, writer, login)),
        }
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in (onward, writer):  # what one side broke is broken for the other
                end.transport.abort()
        await asyncio.wait(ways)

    async def _to_client(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, login: Login) -> None:
        frames, features = Frames(), 0
        with suppress(OSError):
            while data := await source.read(65536):
                text = "".join(frames.feed(data))
                features += text.count("<stream:features")
                ends = {"upgrade": True, "sasl": features > 1, "bind": "<jid>" in text}  # the first is no text
                stage = next((stage for stage, ended in ends.items() if ended and stage not in login.took), None)
                if stage:
                    await asyncio.sleep(self._holds[stage])
                    login.end(stage)
                target.write(data)


async def _to_server(source: asyncio.StreamReader, target: asyncio.StreamWriter, login: Login) -> None:
    frames = Frames()
    with suppress(OSError):
        while data := await source.read(65536):
            login.said += "".join(frames.feed(data))
            target.write(data)
