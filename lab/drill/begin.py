"""How `make drill` and `make promises` begin and end: a lab of their own, in a hurry. It breaks nothing."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from lab.drill.thresholds import HASTE
from lab.running.workspace import LabError
from lab.stack import Lab

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def in_a_lab(program: str, run: Callable[[Lab], int]) -> int:
    """Do this in a lab of its own; return its exit code, 1 if the lab fails, 130 if interrupted."""
    try:
        with Lab(quiet=True) as lab:
            return run(lab)
    except KeyboardInterrupt:
        print("\nStopped; nothing is left behind.")
        return 130
    except LabError as error:
        print(f"{program} failed: {error}", file=sys.stderr)
        return 1


def start(lab: Lab, thresholds: Path) -> None:
    """Start all servers with these thresholds, and Alertmanager with its waits shortened as much."""
    lab.prometheus.thresholds = thresholds
    lab.alertmanager.haste = HASTE
    print("Starting everything on 127.0.0.1 ...", flush=True)
    for _ in lab.start_all():
        pass
