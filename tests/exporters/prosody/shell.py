"""A client of the admin socket and a server that a test decides, for tests of the client."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from exporters.prosody.client import REASONS, AdminShell
from tests.exporters.prosody.fakes import SERVER_HEADER, AdminSocket, Behaviour, Talk
from toolkit.scrape import TargetError

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
