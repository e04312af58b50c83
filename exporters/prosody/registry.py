"""Takes Prosody's own metrics as rendered by the server and mends them, so that they pass through clean. No I/O.

What is mended (seen on 13.0.1): label values are escaped twice; `_created` outlives the counter it belongs to; a module
reloaded under another type leaves two families of one name; some have no help; one may clash with one of ours.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from toolkit.families import series_names
from toolkit.scrape import TargetError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client.core import Metric

_LABEL_VALUE = re.compile(r'"((?:[^"\\]|\\.)*)"')
_ESCAPED = re.compile(r"\\(.)")
_SINGLY_ESCAPED = re.compile(r'(?:[^"\\\n]|\\[\\"n])*')
_COMMENT = "# "


def parse_registry(text: str, is_ours: Callable[[str], bool]) -> tuple[list[Metric], int]:
    """Return Prosody's families, mended, and how many had to be left out because they cannot be mended.

    Args:
        text: the registry in the OpenMetrics text format, as Prosody renders it.
        is_ours: tells whether a family or series of ours has this name, which Prosody's must not take.
    """
    families: list[Metric] = []
    taken: set[str] = set()
    left_out = 0
    for block in _blocks(text):
        try:
            parsed = [family for family in _parse(_mend(block)) if family.samples]
        except (ValueError, KeyError):
            left_out += 1
            continue
        for family in parsed:
            names = series_names(family.type, family.name)
            if not taken.isdisjoint(names) or any(map(is_ours, names)):
                left_out += 1
            else:
                taken |= names
                families.append(family)
    return families, left_out


def renew(text: str, answer: str) -> str:
    """Return the registry's text as it stands now.

    Args:
        text: as it stood at the last scrape.
        answer: of registry.lua: a new text, or, if only numbers have changed, those of all samples in the text's order.

    Raises TargetError("protocol_error") when the numbers are not as many as the samples.
    """
    if not answer or answer.startswith(_COMMENT):
        return answer
    numbers = answer.split(" ")
    lines = text.split("\n")
    samples = [at for at, line in enumerate(lines) if line and not line.startswith(_COMMENT)]
    if len(samples) != len(numbers):
        message = f"Prosody answers {len(numbers)} numbers where its metrics have {len(samples)} samples"
        raise TargetError("protocol_error", message)
    for at, number in zip(samples, numbers, strict=True):
        lines[at] = f"{lines[at].rpartition(' ')[0]} {number}"
    return "\n".join(lines)


def _parse(text: str) -> Iterator[Metric]:
    for family in text_string_to_metric_families(text):  # type: ignore[no-untyped-call] # prometheus_client has no types there
        family.documentation = family.documentation or "Prosody's own; it does not say what it means."
        yield family


def _blocks(text: str) -> Iterator[list[str]]:
    """Cut the text where a family begins, so that one that is broken costs no other."""
    block: list[str] = []
    for line in text.split("\n"):  # splitlines() would also cut at U+2028 and its like, inside a label value
        if line.startswith("# HELP ") and block:
            yield block
            block = []
        if line.strip() and line != "# EOF":
            block.append(line)
    if block:
        yield block


def _mend(block: list[str]) -> str:
    comments = [line for line in block if line.startswith(_COMMENT) and not line.startswith("# UNIT ")]
    samples: dict[str, str] = {}
    for line in block:
        if line.startswith(_COMMENT):
            continue
        series, _, value = line.rpartition(" ")
        if not series.partition("{")[0].endswith("_created"):
            samples.setdefault(_LABEL_VALUE.sub(_unescape_once, series), value)
    return "\n".join([*comments, *(f"{series} {value}" for series, value in samples.items()), "# EOF", ""])


def _unescape_once(literal: re.Match[str]) -> str:
    once = _ESCAPED.sub(lambda match: "\n" if match[1] == "n" else match[1], literal[1])
    # a Prosody that escapes once, as it should, must not lose its only escape
    return f'"{once}"' if _SINGLY_ESCAPED.fullmatch(once) else literal[0]
