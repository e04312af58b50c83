"""The thresholds file of a drill: shorter times, and values that one machine can reach. `generate-rules` reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml

from lab.drill.table import DRILLS
from toolkit.values import duration

if TYPE_CHECKING:
    from pathlib import Path

    from alerts.thresholds import Threshold

HASTE = 15  # how many times shorter than in production: 30 s between scrapes become 2
_HOLD = (4, 10)  # seconds: the shortest `for` is two scrapes; a longer one shows nothing more
_LONGEST_WINDOW = 60  # seconds: a fault that is over must leave every window before the next drill


def write_thresholds(path: Path, defaults: dict[str, Threshold]) -> Path:
    """Write the overrides: every duration shortened, and the thresholds of the table of drills."""
    drills = {drill.alert: drill for drill in DRILLS}
    overrides = {
        alert: {
            "reason": "A drill on one machine, with shorter times.",
            "for": "0s"
            if threshold.hold == "0s"
            else f"{min(max(int(duration(threshold.hold)) // HASTE, _HOLD[0]), _HOLD[1])}s",
            **(
                {"window": f"{min(int(duration(threshold.window)) // HASTE, _LONGEST_WINDOW)}s"}
                if threshold.window
                else {}
            ),
            **({"value": value} if (value := drills[alert].value) else {}),
            **({"minimum": minimum} if (minimum := drills[alert].minimum) else {}),
        }
        for alert, threshold in defaults.items()
    }
    path.write_text(yaml.safe_dump(overrides), encoding="utf-8")
    return path
