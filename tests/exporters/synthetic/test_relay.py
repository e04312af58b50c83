"""When packets are sent, on a clock that stands still; what comes back is in tests/live."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from exporters.synthetic.relay import _Run

if TYPE_CHECKING:
    from exporters.synthetic.leg import Leg


async def test_all_runs_send_at_the_same_moments_so_that_they_wake_the_exporter_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop, moments = asyncio.get_running_loop(), list[float]()

    def call_at(when: float, *_: object) -> SimpleNamespace:
        moments.append(when)
        return SimpleNamespace(cancel=lambda: None)

    leg = cast("Leg", SimpleNamespace(relayed=b"", send=lambda *_: None))
    for began in (5.001, 7.0199):
        run = _Run()
        monkeypatch.setattr(run, "_clock", iter([began] * 9).__next__)
        monkeypatch.setattr(run, "_loop", SimpleNamespace(call_at=call_at))
        sending = loop.create_task(run.send(leg))
        await asyncio.sleep(0)
        sending.cancel()
    assert moments == pytest.approx([5.02, 7.02])
