"""A Prometheus that forgets before the promises' window is over is a fault; one that does not say is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from alerts.catalogue import KNOBS
from alerts.objectives import load
from check.retention import judge

if TYPE_CHECKING:
    from pathlib import Path

SHORT = "; start it with --storage.tsdb.retention.time=90d (docs/install.md)"


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ("90d", "ok    retention: 90d, and promises look back 30 days"),
        ("1y", "ok    retention: 1y, and promises look back 30 days"),
        ("12w6d or 50GiB", "ok    retention: 12w6d or 50GiB, and promises look back 30 days"),
        ("30d1h", "ok    retention: 30d1h, and promises look back 30 days"),
        ("15d", f"FAIL  retention: Prometheus keeps 15d, and promises look back 30 days{SHORT}"),
        ("30d", f"FAIL  retention: Prometheus keeps 30d, and promises look back 30 days{SHORT}"),
        ("2w", f"FAIL  retention: Prometheus keeps 2w, and promises look back 30 days{SHORT}"),
        ("50GiB", "-     retention: not known; the promises need 30 days"),
        ("", "-     retention: not known; the promises need 30 days"),
    ],
)
def test_what_prometheus_keeps_is_compared_with_the_window(said: str, line: str) -> None:
    assert str(judge(said, load(KNOBS))) == line


def test_the_longest_promise_counts(tmp_path: Path) -> None:
    mine = tmp_path / "my.yaml"
    mine.write_text("login: {window: 90d, reason: Few people log in.}\n")
    promised = load(KNOBS, mine)
    assert "--storage.tsdb.retention.time=120d" in str(judge("90d", promised)), "what it advises is enough"
    assert not judge("91d", promised).failed
    assert not judge("90d", promised.measured(["prosody"])).failed, "it has no rules"
