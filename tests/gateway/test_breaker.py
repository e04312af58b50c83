"""The breaker by itself."""

from __future__ import annotations

import asyncio

from gateway.breaker import FAULTS, PAUSE_FIRST, Breaker


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_it_opens_after_faults_in_a_row_and_says_so() -> None:
    said: list[bool] = []
    breaker = Breaker(said.append)
    for _ in range(FAULTS - 1):
        breaker.record(now(), faulty=True)
    breaker.record(now(), faulty=False)
    for _ in range(FAULTS):
        assert not breaker.open
        breaker.record(now(), faulty=True)
    assert breaker.open
    breaker.record(now(), faulty=False)
    assert not breaker.open
    assert said == [True, False]


async def test_while_open_one_try_is_admitted_and_the_others_wait_for_its_success() -> None:
    breaker = Breaker(lambda _: None)
    for _ in range(FAULTS):
        breaker.record(now(), faulty=True)
    tries = [asyncio.create_task(breaker.admit(now() + 30)) for _ in range(5)]
    await asyncio.wait(tries, return_when=asyncio.FIRST_COMPLETED)
    assert sum(task.done() for task in tries) == 1
    breaker.record(now(), faulty=False)
    assert await asyncio.gather(*tries) == [True] * 5


async def test_nobody_waits_beyond_the_deadline() -> None:
    breaker = Breaker(lambda _: None)
    for _ in range(FAULTS):
        breaker.record(now(), faulty=True)
    assert not await breaker.admit(now() + 0.05)


async def test_faults_of_tries_that_began_before_it_opened_do_not_lengthen_the_pause() -> None:
    breaker = Breaker(lambda _: None)
    began = now() - 1
    for _ in range(50):
        breaker.record(began, faulty=True)
    assert breaker._pause == PAUSE_FIRST
    assert await breaker.admit(now() + 30)
    breaker.record(now(), faulty=True)
    assert breaker._pause == 2 * PAUSE_FIRST
