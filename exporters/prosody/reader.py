"""Reads Prosody through its admin shell, and keeps the counting script installed there. Knows no Prometheus."""

from __future__ import annotations

import asyncio
import dataclasses
import re
from contextlib import asynccontextmanager, suppress
from importlib import resources
from typing import TYPE_CHECKING, Literal

import psutil

from exporters.prosody.registry import renew
from exporters.prosody.snapshot import Process, Snapshot, parse_snapshot
from toolkit.background import running
from toolkit.scrape import TargetError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from exporters.prosody.client import AdminShell


def _script(name: str) -> str:
    return (resources.files(__package__) / name).read_text(encoding="utf-8")


# Everything this exporter ever sends to Prosody; nothing that comes from outside is put into it.
SCRIPTS = {
    name: _script(f"{name}.lua") for name in ("installed", "instrument", "reader", "registry", "snapshot", "uninstall")
}
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
        self._registry = ""  # as last told; see renew

    async def read(self) -> Snapshot:
        """Take one snapshot.

        Raises TargetError with one of exporters.prosody.client.REASONS.
        """
        snapshot = parse_snapshot(await self._call("snapshot"))
        if self._instrument and (snapshot.counts is None or snapshot.counts.version < INSTRUMENT_VERSION):
            await self._install()
            snapshot = parse_snapshot(await self._call("snapshot"))
        try:
            self._registry = renew(self._registry, await self._call("registry"))
        except TargetError:
            await self._shell.close()  # a new connection is told the whole text again
            raise
        return dataclasses.replace(
            snapshot,
            counts=snapshot.counts if self._instrument else None,
            registry=self._registry or None,
            process=inspect_process(self._shell.peer_pid, snapshot.process),
        )

    async def _call(self, function: Literal["registry", "snapshot"]) -> str:
        """Call one of the functions of reader.lua, which a new connection has yet to be sent."""
        answer = await self._shell.lua(SCRIPTS[function])
        if answer == "nil":
            await self._shell.lua(SCRIPTS["reader"])
            answer = await self._shell.lua(SCRIPTS[function])
        return answer

    @asynccontextmanager
    async def keeping_installed(self) -> AsyncIterator[None]:
        """Install the counting script whenever it is missing, without waiting for a scrape.

        Most logins come in the first seconds after Prosody's start, and would be counted by nobody.
        """
        async with running(*([self._keep_installed] if self._instrument else [])):
            yield

    async def _keep_installed(self) -> None:
        while True:
            with suppress(TargetError):  # a scrape tells what is wrong
                await self._install()
            await asyncio.sleep(INSTALL_EVERY_SECONDS)

    async def _install(self) -> None:
        if await self._installed_version() < INSTRUMENT_VERSION:
            await self._shell.lua(SCRIPTS["instrument"])

    async def _installed_version(self) -> int:
        version = await self._shell.lua(SCRIPTS["installed"])
        if not re.fullmatch("[0-9]{1,9}", version):
            raise TargetError("protocol_error", f"Prosody answers {version[:40]!r} where a version was asked for")
        return int(version)

    async def uninstall(self) -> None:
        """Remove every hook of instrument.lua and wait until no open session holds one.

        Raises TargetError, also when a running exporter installs the script again meanwhile: that would go on for ever.
        """
        while await self._shell.lua(SCRIPTS["uninstall"]) != "removed":
            await asyncio.sleep(0.1)
            if await self._installed_version():
                message = "an exporter has installed the counting script again; stop it first"
                raise TargetError("error_answer", message)


def inspect_process(pid: int | None, inside: Process) -> Process:
    """Look at the server's process from outside, which costs the server nothing.

    Args:
        pid: of the server; None when another machine or container runs it.
        inside: what Prosody says of itself, taken where the look from outside fails.
    """
    if pid is None:
        return inside
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            cpu = process.cpu_times()
            outside = Process(cpu.user + cpu.system, process.memory_info().rss, inside.open_fds)
    except psutil.Error:
        return inside
    with suppress(psutil.Error):  # open files are shown to the same user only
        outside = dataclasses.replace(outside, open_fds=process.num_fds())
    return outside
