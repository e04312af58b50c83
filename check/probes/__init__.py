"""The checklist's own checks, made from the monitoring host: one function each, by the name in checklist.yaml."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Probed:
    """What a check found: its status, and one line that says what and where; "" if all is well."""

    status: Literal["ok", "FAIL", "UNKNOWN"]
    text: str = ""
