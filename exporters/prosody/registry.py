"""Repairs Prosody's own metrics as the server renders them, so that they pass through clean. It does no I/O.

Defects seen on 13.0.1: label values are escaped twice; `_created` outlives the counter it belongs to; a module reloaded
under another type leaves two families of one name; some families have no help; one may have a name of ours.
"""

from __future__ import annotations

import copy
import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

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


class Registry(NamedTuple):
    """Prosody's own metrics: their text, which rarely changes, and the numbers of now.

    Args:
        text: in the OpenMetrics text format, as Prosody rendered it.
        numbers: the value of each sample in the text's order; None while those in the text are still right.
    """

    text: str
    numbers: tuple[float, ...] | None = None


def renew(last: Registry | None, text: str, numbers: str) -> Registry | None:
    """Return the registry of now; None when Prosody has none.

    Args:
        last: the registry of the last answer on this connection.
        text: a new text; empty if the last one still fits.
        numbers: the values of all samples of the last text, with a space between; empty if there is a new text.

    Raises TargetError("protocol_error") when there are not as many numbers as samples, and ValueError for what is not a
    number.
    """
    if text:
        return Registry(text)
    if not numbers:
        return None
    values = tuple(map(float, numbers.split(" ")))
    samples = _count_samples(last.text) if last else 0
    if samples != len(values):
        message = f"Prosody answers {len(values)} numbers where its metrics have {samples} samples"
        raise TargetError("protocol_error", message)
    return Registry(last.text if last else "", values)


def parse_registry(registry: Registry, is_ours: Callable[[str], bool]) -> tuple[list[Metric], int]:
    """Return Prosody's families, repaired, and how many had to be left out because they cannot be repaired.

    Args:
        registry: what Prosody says.
        is_ours: tells whether a family or series of ours has this name, which Prosody's must not take.
    """
    families, left_out = _parse_text(registry.text, is_ours)
    numbers = registry.numbers
    return [family if numbers is None else _renumbered(family, lines, numbers) for family, lines in families], left_out


# Remembers the last text: only its numbers change from scrape to scrape, and to parse 6 MB of it takes a second of CPU.
@lru_cache(maxsize=1)
def _parse_text(text: str, is_ours: Callable[[str], bool]) -> tuple[list[tuple[Metric, list[int]]], int]:
    """Return each family with the places of its samples among all samples of the text, and how many were left out."""
    families: list[tuple[Metric, list[int]]] = []
    taken: set[str] = set()
    left_out = 0
    for block in _blocks(text):
        repaired, places = _repair(block)
        try:
            parsed = [family for family in _parse(repaired) if family.samples]
        except (ValueError, KeyError):
            left_out += 1
            continue
        for family in parsed:
            here, places = places[: len(family.samples)], places[len(family.samples) :]
            names = series_names(family.type, family.name)
            if not taken.isdisjoint(names) or any(map(is_ours, names)):
                left_out += 1
            else:
                taken |= names
                families.append((family, here))
    return families, left_out


def _renumbered(family: Metric, places: list[int], numbers: tuple[float, ...]) -> Metric:
    renumbered = copy.copy(family)
    renumbered.samples = [
        sample._replace(value=numbers[place]) for sample, place in zip(family.samples, places, strict=True)
    ]
    return renumbered


def _is_sample(line: str) -> bool:
    return bool(line) and not line.startswith(_COMMENT)


@lru_cache(maxsize=1)
def _count_samples(text: str) -> int:
    return sum(map(_is_sample, text.split("\n")))


def _parse(text: str) -> Iterator[Metric]:
    for family in text_string_to_metric_families(text):  # type: ignore[no-untyped-call] # prometheus_client has no types there
        family.documentation = family.documentation or "Prosody's own; it does not say what it means."
        yield family


def _blocks(text: str) -> Iterator[list[tuple[int, str]]]:
    """Cut the text where a family begins, so that one that is broken costs no other. Samples carry their place."""
    block: list[tuple[int, str]] = []
    place = 0
    for line in text.split("\n"):  # splitlines() would also cut at U+2028 and its like, inside a label value
        if line.startswith("# HELP ") and block:
            yield block
            block = []
        if line.strip() and line != "# EOF":
            block.append((place, line))
        place += _is_sample(line)
    if block:
        yield block


def _repair(block: list[tuple[int, str]]) -> tuple[str, list[int]]:
    """Return the text of a family that a strict parser takes, and the places of the samples that stayed in it."""
    comments = [line for _, line in block if line.startswith(_COMMENT) and not line.startswith("# UNIT ")]
    samples: dict[str, tuple[int, str]] = {}
    for place, line in block:
        if line.startswith(_COMMENT):
            continue
        series, _, value = line.rpartition(" ")
        if not series.partition("{")[0].endswith("_created"):
            samples.setdefault(_LABEL_VALUE.sub(_unescape_once, series), (place, value))
    lines = [*comments, *(f"{series} {value}" for series, (_, value) in samples.items()), "# EOF", ""]
    return "\n".join(lines), [place for place, _ in samples.values()]


def _unescape_once(literal: re.Match[str]) -> str:
    once = _ESCAPED.sub(lambda match: "\n" if match[1] == "n" else match[1], literal[1])
    # a Prosody that escapes once, as it should, must not lose its only escape
    return f'"{once}"' if _SINGLY_ESCAPED.fullmatch(once) else literal[0]
