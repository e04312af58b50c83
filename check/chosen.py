"""What a site chose when it made its rules: `commeazy-check` takes the same flags as `generate-rules`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from alerts import objectives, thresholds
from alerts.catalogue import KNOBS

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from alerts.objectives import Promises
    from alerts.thresholds import Threshold


@dataclass(frozen=True)
class Chosen:
    """Which rules a site has.

    Attributes:
        thresholds: of every alert.
        promised: what is measured.
        without: jobs that have no targets there.
    """

    thresholds: Mapping[str, Threshold]
    promised: Promises
    without: Collection[str] = ()


def chosen(
    own_thresholds: Path | None = None, own_promises: Path | None = None, without: Collection[str] = ()
) -> Chosen:
    """Return what a site chose: the defaults, and over them its own files. Raises ConfigError for a wrong file."""
    promised = objectives.load(KNOBS, own_promises).measured(without)
    return Chosen(thresholds.load(KNOBS, own_thresholds), promised, without)
