"""Background jobs restart after a failure, and have ended when their context ends."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING

from toolkit import background
from toolkit.background import cancel, running

if TYPE_CHECKING:
    import pytest


async def test_a_job_that_fails_starts_again_and_is_logged_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(background, "_PAUSE", 0.0)
    runs, enough = 0, asyncio.Event()

    async def job() -> None:
        nonlocal runs
        runs += 1
        if runs > 3:
            enough.set()
            await asyncio.Event().wait()
        raise ZeroDivisionError("bug")

    async with running(job):
        await enough.wait()
    [record] = caplog.records
    assert record.exc_info


async def test_the_log_names_the_function_of_a_job_and_no_argument(caplog: pytest.LogCaptureFixture) -> None:
    logged = asyncio.Event()

    async def job(password: str) -> None:
        asyncio.get_running_loop().call_soon(logged.set)
        raise ZeroDivisionError(len(password))

    async with running(partial(job, "hunter2")):
        await logged.wait()
    [record] = caplog.records
    assert record.__dict__["job"].endswith(".job")


async def test_a_failing_job_leaves_the_others_alone() -> None:
    others = asyncio.Event()

    async def fails() -> None:
        raise ZeroDivisionError("bug")

    async def works() -> None:
        await asyncio.sleep(0)
        others.set()

    async with running(fails, works):
        await others.wait()


async def test_work_has_ended_when_the_context_is_left_even_by_an_error() -> None:
    ended: list[str] = []

    async def job() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append("job")

    with contextlib.suppress(KeyError):
        async with running(job):
            await asyncio.sleep(0)
            raise KeyError
    assert ended == ["job"]


async def test_cancel_waits_and_drops_what_is_raised() -> None:
    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ZeroDivisionError("in the end")

    tasks = [asyncio.create_task(stubborn()) for _ in range(2)]
    await asyncio.sleep(0)
    await cancel(*tasks)
    await cancel()
    assert all(task.done() for task in tasks)
