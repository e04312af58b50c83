"""Judges whether Prometheus keeps its data for as long as the promises look back. No I/O."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from check import verdicts
from check.client import one_line
from check.verdicts import Verdict

if TYPE_CHECKING:
    from alerts.objectives import Promises

_RETENTION: Final = re.compile(r"(?:(\d+)y)?(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:\d+m)?(?:\d+s)?")
_KEPT: Final = 90  # days that docs/install.md lets Prometheus keep
_SPARE: Final = 30


def judge(said: str, promised: Promises) -> Verdict:
    """Judge whether Prometheus keeps its data for as long as the longest promise.

    Args:
        said: by Prometheus, such as `15d` or `12w6d or 50GiB`; "" if it does not say.
        promised: what has rules.
    """
    needed = max((each.days for each in promised.objectives.values()), default=0)
    found = _RETENTION.fullmatch(said.split(" or ", maxsplit=1)[0])
    if not found or not said[:1].isdigit():
        return Verdict("-", f"retention: not known; the promises need {needed} days")
    kept = sum(int(number) * size for number, size in zip(found.groups("0"), (365, 7, 1, 1 / 24), strict=True))
    if kept <= needed:
        return verdicts.fail(
            f"retention: Prometheus keeps {one_line(said)}, and promises look back {needed} days; start it with "
            f"--storage.tsdb.retention.time={max(_KEPT, needed + _SPARE)}d (docs/install.md)"
        )
    return verdicts.ok(f"retention: {one_line(said)}, and promises look back {needed} days")
