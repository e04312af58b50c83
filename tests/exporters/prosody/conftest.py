"""What the tests of the Prosody exporter share: a recorded reading, and the lines that the probe logs."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest

from exporters.prosody.snapshot import Snapshot, parse_snapshot
from tests.exporters.prosody.recording import TEXT

if TYPE_CHECKING:
    from collections.abc import Iterator


class Lines(logging.Handler):
    """What the probe logs, line by line as it comes."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: asyncio.Queue[str] = asyncio.Queue()

    def emit(self, record: logging.LogRecord) -> None:
        self.queue.put_nowait(f"{record.levelname} {record.getMessage()}")


@pytest.fixture
def lines() -> Iterator[Lines]:
    logger, handler = logging.getLogger("exporters.prosody.probe"), Lines()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


@pytest.fixture
def snapshot() -> Snapshot:
    return parse_snapshot(TEXT)
