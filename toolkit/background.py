"""Work that goes on beside the requests: started, kept going, and ended with the program. What it does, others know."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

_log = logging.getLogger(__name__)
_PAUSE = 1.0  # seconds before a job that ended is started again


@asynccontextmanager
async def running(*jobs: Callable[[], Awaitable[object]]) -> AsyncIterator[None]:
    """Run these jobs inside the context, and wait for their end when it is left.

    Args:
        jobs: each is called for a coroutine that goes on until it is cancelled. One that fails, through a bug of ours,
            is logged and called again after a second: a bug in one must end neither it nor the others for good.
    """
    tasks = [asyncio.create_task(_kept_going(job), name=_name(job)) for job in jobs]
    try:
        yield
    finally:
        await cancel(*tasks)


async def cancel(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks, and wait until they have ended. What they raise meanwhile is dropped."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _kept_going(job: Callable[[], Awaitable[object]]) -> None:
    told = ""
    while True:
        try:
            await job()
        except Exception as error:  # noqa: BLE001 - a bug of ours, whatever it is
            # The same failure is logged once: a line a second would bury the first.
            if (now := repr(error)) != told:
                _log.exception("a bug in background work, which starts again", extra={"job": _name(job)})
            told = now
        await asyncio.sleep(_PAUSE)


def _name(job: Callable[[], Awaitable[object]]) -> str:
    return str(getattr(job, "__qualname__", job))
