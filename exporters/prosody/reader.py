"""Reads Prosody through its admin shell, and keeps the counting script installed there. Knows no Prometheus."""

from __future__ import annotations

import asyncio
import dataclasses
import re
from contextlib import asynccontextmanager, suppress
from importlib import resources
from typing import TYPE_CHECKING

import psutil

from exporters.prosody.client import AdminShell
from exporters.prosody.snapshot import Process, Snapshot, parse_snapshot
from toolkit.background import running
from toolkit.scrape import TargetError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from exporters.prosody.registry import Registry


def _script(name: str) -> str:
    """Return the text of a Lua file, with that of each file that it includes."""
    text = (resources.files(__package__) / name).read_text(encoding="utf-8")
    return re.sub(r"^-- include (\w+\.lua)$", lambda included: _script(included[1]), text, flags=re.MULTILINE)


# Everything this exporter ever sends to Prosody; nothing that comes from outside is put into it.
SCRIPTS = {name: _script(f"{name}.lua") for name in ("installed", "instrument", "reader", "scrape", "uninstall")}
_version = re.search(r"^local VERSION = (\d+);", SCRIPTS["instrument"], re.MULTILINE)
assert _version, "instrument.lua states its version"
INSTRUMENT_VERSION = int(_version[1])
INSTALL_EVERY_SECONDS = 2.0


class Reader:
    """Reads one Prosody through its admin shell.

    Args:
        shell: the connection.
        instrument: whether instrument.lua is kept installed; without it a reading has no counts.
    """

    def __init__(self, shell: AdminShell, *, instrument: bool) -> None:
        self._shell = shell
        self._instrument = instrument
        self._registry: Registry | None = None  # of the last answer; see renew
        self._process: psutil.Process | None = None  # the server's, as long as it has not ended

    async def read(self) -> Snapshot:
        """Take one snapshot.

        One command, and one more where a script has to be sent: each waits for a whole turn of Prosody's event loop.

        Raises TargetError with one of exporters.prosody.client.REASONS.
        """
        snapshot = await self._scrape()
        if self._instrument and (snapshot.counts is None or snapshot.counts.version < INSTRUMENT_VERSION):
            await _install(self._shell)
            snapshot = await self._scrape()
        return dataclasses.replace(
            snapshot,
            counts=snapshot.counts if self._instrument else None,
            process=inspect_process(self._process, snapshot.process),
        )

    def inspect_from_outside(self) -> Process:
        """Say what the server uses, without asking it: for when it does not answer."""
        return inspect_process(self._process, Process())

    async def _scrape(self) -> Snapshot:
        # A new connection has yet to be sent the function, which is called at once.
        answer = await self._shell.lua(SCRIPTS["scrape"]) if self._shell.connected else "nil"
        if answer == "nil":
            answer = await self._shell.lua(SCRIPTS["reader"])
        if (pid := self._shell.peer_pid) != (self._process and self._process.pid):
            self._process = _process(pid)
        try:
            snapshot = parse_snapshot(answer, self._registry)
        except TargetError:
            await self._shell.close()  # a new connection gets the whole text again
            raise
        self._registry = snapshot.registry
        return snapshot

    @asynccontextmanager
    async def keeping_installed(self) -> AsyncIterator[None]:
        """Install the counting script whenever it is missing, without waiting for a scrape.

        Most logins come in the first seconds after Prosody's start, and would be counted by nobody.
        """
        async with running(*([self._keep_installed] if self._instrument else [])):
            yield

    async def _keep_installed(self) -> None:
        # A connection of its own: on a slow server a scrape would have to wait for the answer to this one.
        shell = AdminShell(self._shell.path, timeout=self._shell.timeout)
        try:
            while True:
                with suppress(TargetError):  # a scrape tells what is wrong
                    await _install(shell)
                await asyncio.sleep(INSTALL_EVERY_SECONDS)
        finally:
            await shell.close()

    async def uninstall(self) -> None:
        """Remove every hook of instrument.lua and wait until no open session holds one.

        Raises TargetError, also when a running exporter installs the script again meanwhile: that would never end.
        """
        while await self._shell.lua(SCRIPTS["uninstall"]) != "removed":
            await asyncio.sleep(0.1)
            if await _installed_version(self._shell):
                message = "an exporter has installed the counting script again; stop it first"
                raise TargetError("error_answer", message)


async def _install(shell: AdminShell) -> None:
    if await _installed_version(shell) < INSTRUMENT_VERSION:
        await shell.lua(SCRIPTS["instrument"])


async def _installed_version(shell: AdminShell) -> int:
    version = await shell.lua(SCRIPTS["installed"])
    if not re.fullmatch("[0-9]{1,9}", version):
        raise TargetError("protocol_error", f"Prosody answers {version[:40]!r} instead of a version")
    return int(version)


def _process(pid: int | None) -> psutil.Process | None:
    try:
        return psutil.Process(pid) if pid else None
    except psutil.Error:
        return None


def inspect_process(process: psutil.Process | None, inside: Process) -> Process:
    """Look at the server's process from outside, which costs the server nothing.

    Args:
        process: the server's; None when another machine or container runs it.
        inside: what Prosody says of itself, taken where the look from outside fails.
    """
    if process is None:
        return inside
    try:
        if not process.is_running():  # another process may have its number by now
            return inside
        with process.oneshot():
            cpu = process.cpu_times()
            outside = Process(cpu.user + cpu.system, process.memory_info().rss, inside.open_fds)
    except psutil.Error:
        return inside
    with suppress(psutil.Error):  # only the same user may see open files
        outside = dataclasses.replace(outside, open_fds=process.num_fds())
    return outside
