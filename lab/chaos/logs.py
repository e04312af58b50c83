"""Reads the logs of our programs as a person would: every line one statement, and no traceback. Pure."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_LINE = re.compile(r'ts=\S+ level=(?P<level>debug|info|warn|error) logger=\S+ msg=("(?:[^"\\]|\\.)*"|\S+)(?P<rest>.*)')
_MOST = 200  # characters shown of one


def complaints(lines: Iterable[str], *, torn: bool = False) -> tuple[list[str], Counter[str]]:
    """Find what nobody should have to read.

    Args:
        lines: of one log.
        torn: the disk was full meanwhile, so a line may be a part of one.

    Returns:
        Lines with a traceback, and lines that are none of ours; and how often each error was logged, by its message.
    """
    wrong, errors = [], Counter[str]()
    for line in lines:
        found = _LINE.fullmatch(line)
        if found is None:
            if "Traceback" in line or not torn:
                wrong.append(line[:_MOST])
        elif "traceback=" in found["rest"]:
            wrong.append(line[:_MOST])
        elif found["level"] == "error":
            errors[f"{found[2]}{_without_figures(found['rest'])}"] += 1
    return wrong, errors


def _without_figures(text: str) -> str:
    return re.sub(r"\d+", "#", text)[:_MOST]
