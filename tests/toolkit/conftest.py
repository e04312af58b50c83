"""What several tests of the toolkit watch for."""

from __future__ import annotations

import asyncio

import pytest

from toolkit import web
from toolkit.scrape import deadline


@pytest.fixture
def arrived(monkeypatch: pytest.MonkeyPatch) -> asyncio.Queue[None]:
    """Get an item for every scrape that begins to read, or joins a read: its handler gives way no earlier."""
    queue: asyncio.Queue[None] = asyncio.Queue()

    def announced(header: str | None) -> float:
        queue.put_nowait(None)
        return deadline(header)

    monkeypatch.setattr(web, "deadline", announced)
    return queue
