"""Runs background jobs beside the requests: starts them, restarts them after a failure, and ends them."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

_log = logging.getLogger(__name__)
_PAUSE = 1.0  # seconds before a job that ended is started again


@asynccontextmanager
async def running(*jobs: Callable[[], Awaitable[object]]) -> AsyncIterator[None]:
    """Run these jobs inside the context; at its end cancel them and wait until they have ended.

    Args:
        jobs: each returns a coroutine that runs until it is cancelled. A job that fails has a bug: it is logged and
            called again after a second, and the others are not affected.
    """
    tasks = [asyncio.create_task(_kept_going(job), name=_name(job)) for job in jobs]
    try:
        yield
    finally:
        await cancel(*tasks)


async def cancel(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks, and wait until they have ended. Their exceptions are dropped."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _kept_going(job: Callable[[], Awaitable[object]]) -> None:
    told = ""
    while True:
        try:
            await job()
        except Exception as error:  # noqa: BLE001 - a bug of ours, whatever it is
            # The same failure is logged once: a line each second would bury the first one.
            if (now := repr(error)) != told:
                _log.exception("a bug in a background job, which is restarted", extra={"job": _name(job)})
            told = now
        await asyncio.sleep(_PAUSE)


def _name(job: Callable[[], Awaitable[object]]) -> str:
    """Return the name of the function, without the arguments of a partial one: they may hold what no log may show."""
    function = job.func if isinstance(job, partial) else job
    return str(getattr(function, "__qualname__", type(function).__name__))
