"""Prints the checklist's findings as text, JSON, Markdown, or one HTML page that needs nothing else."""

from __future__ import annotations

import json
import re
from collections import Counter
from datetime import UTC, datetime
from html import escape
from importlib import resources
from itertools import groupby
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from check.judging import Finding

ORDER: Final = ("FAIL", "STALE", "UNKNOWN", "YOURS", "ok")
TITLE: Final = "Section 20, production checklist"
_MARKUP: Final = re.compile(r"[\\`*\[\]|]")


def text(findings: Sequence[Finding], sections: Mapping[str, str], now: float) -> str:
    """Return one line for each item."""
    del sections, now
    return "".join(f"{finding}\n" for finding in findings)


def as_json(findings: Sequence[Finding], sections: Mapping[str, str], now: float) -> str:
    """Return everything, for programs."""
    rows = [
        {
            "id": finding.item.id,
            "section": sections[finding.item.section],
            "item": finding.item.text,
            "status": finding.status,
            "detail": finding.detail,
            "judged_by": finding.item.judged_by,
            "do": finding.item.action,
            "cannot_see": finding.item.blind,
        }
        for finding in findings
    ]
    page = {"judged_at": _moment(now), "summary": dict(summed(findings)), "items": rows}
    return json.dumps(page, indent=1, ensure_ascii=False) + "\n"


def markdown(findings: Sequence[Finding], sections: Mapping[str, str], now: float) -> str:
    """Return a table for each section."""
    lines = [f"# {TITLE}", "", f"{_moment(now)}: {_summary(findings)}.", ""]
    for letter, group in _by_section(findings):
        lines += [f"## {letter}. {sections[letter]}", "", "| | item | status | |", "|---|---|---|---|"]
        for finding in group:
            status = finding.status if finding.status in ("ok", "YOURS") else f"**{finding.status}**"
            lines.append(f"| {finding.item.id} | {_cell(finding.item.text)} | {status} | {_cell(finding.detail)} |")
        lines.append("")
    return "\n".join(lines)


def html(findings: Sequence[Finding], sections: Mapping[str, str], now: float) -> str:
    """Return one page for a browser, a phone and paper."""
    style = (resources.files(__package__) / "checklist.css").read_text(encoding="utf-8")
    tables = "".join(_table(letter, sections[letter], group) for letter, group in _by_section(findings))
    counts = "".join(
        f'<li class="{status.lower()}"><b>{number}</b> {status}</li>' for status, number in summed(findings) if number
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{TITLE}</title>
<style>
{style}</style>
</head>
<body>
<h1>{TITLE}</h1>
<p>Judged {_moment(now)} by commeazy-check.</p>
<ul class="summary">{counts}</ul>
{tables}</body>
</html>
"""


FORMATS: Final[dict[str, Callable[[Sequence[Finding], Mapping[str, str], float], str]]] = {
    "text": text,
    "json": as_json,
    "markdown": markdown,
    "html": html,
}


def summed(findings: Sequence[Finding]) -> list[tuple[str, int]]:
    """Return how many items have each status, the worst first."""
    numbers = Counter(finding.status for finding in findings)
    return [(status, numbers[status]) for status in ORDER]


def _by_section(findings: Sequence[Finding]) -> Iterator[tuple[str, list[Finding]]]:
    for letter, group in groupby(findings, lambda finding: finding.item.section):
        yield letter, list(group)


def _table(letter: str, title: str, findings: Sequence[Finding]) -> str:
    rows = "".join(
        f'<tr class="{finding.status.lower()}"><th scope="row">{finding.item.id}</th>'
        f'<td class="status">{finding.status}</td>'
        f"<td>{escape(finding.item.text)}{_small(finding.detail)}</td></tr>\n"
        for finding in findings
    )
    return f"<h2>{letter}. {escape(title)}</h2>\n<table>\n{rows}</table>\n"


def _small(detail: str) -> str:
    return f"<small>{escape(detail)}</small>" if detail else ""


def _cell(words: str) -> str:
    """Return text that Markdown shows as it is, in one cell."""
    return _MARKUP.sub(r"\\\g<0>", escape(words, quote=False))


def _summary(findings: Sequence[Finding]) -> str:
    return ", ".join(f"{number} {status}" for status, number in summed(findings) if number)


def _moment(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d %H:%M UTC")
