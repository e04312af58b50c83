"""The command that writes the alerts' facts into documents: runbooks, the runbooks' index, README's table.

Only these lines are generated. The text of a runbook is written by hand.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from alerts.catalogue import GROUPS, KNOBS
from alerts.thresholds import load

if TYPE_CHECKING:
    from collections.abc import Iterable

    from alerts.thresholds import Threshold

ROOT: Final = Path(__file__).parents[1]
RUNBOOKS: Final = ROOT / "docs" / "runbooks"
INDEX: Final = RUNBOOKS / "README.md"
README: Final = ROOT / "README.md"
# The groups of the catalogue, as README's table calls them.
TITLES: Final = {
    "prosody": "Prosody",
    "push-gateway": "the push gateway",
    "servers": "HAProxy, PostgreSQL, coturn",
    "hosts": "hosts, failover, backups",
    "certificates": "certificates",
    "synthetic": "what users get",
    "promises": "what Section 1 promises",
    "monitoring": "the monitoring itself",
}
_FACTS: Final = re.compile(r"\A(?P<title># (?P<alert>\w+)\n\n)(?:\*\*\w+\*\* · .*\n\n?)?")


def facts(threshold: Threshold) -> str:
    """Return an alert's severity, limit, durations and source in one line."""
    words = [f"**{threshold.severity}**"]
    words += [f"limit {threshold.limit}"] if threshold.limit else []
    words += ["at once" if threshold.hold == "0s" else f"for {threshold.hold}"]
    words += [f"window {threshold.window}"] if threshold.window else []
    anchor = threshold.section.lower().replace(" ", "-")
    source = f"[specification, Section {threshold.section}](../specification.md#section-{anchor})"
    return " · ".join([*words, source])


def runbook(text: str, thresholds: dict[str, Threshold]) -> str:
    """Return a runbook with its line of facts, which follows the title, brought up to date."""
    found = _FACTS.match(text)
    if not found or found["alert"] not in thresholds:
        return text
    return f"{found['title']}{facts(thresholds[found['alert']])}\n\n{text[found.end() :]}"


def index_rows(thresholds: dict[str, Threshold]) -> Iterable[str]:
    """Yield the rows of the runbooks' index."""
    for alert, threshold in thresholds.items():
        yield f"| [{alert}]({alert}.md) | {facts(threshold)} |"


def readme_rows(thresholds: dict[str, Threshold]) -> Iterable[str]:
    """Yield the rows of README's table: the alerts of each group, critical ones in bold."""
    for group, alerts in GROUPS.items():
        links = []
        for name in dict.fromkeys(alert.name for alert in alerts):
            link = f"[{name}](docs/runbooks/{name}.md)"
            links.append(f"**{link}**" if thresholds[name].severity == "critical" else link)
        yield f"| {TITLES.get(group, group)} | {', '.join(links)} |"


def table(text: str, header: str, rows: Iterable[str]) -> str:
    """Return a Markdown text with other rows in the table that has this header line.

    Raises:
        ValueError: the text has no such table.
    """
    start = text.index(f"{header}\n|---|---|\n") + len(f"{header}\n|---|---|\n")
    end = start + sum(len(line) for line in _while_row(text[start:]))
    return text[:start] + "".join(f"{row}\n" for row in rows) + text[end:]


def _while_row(text: str) -> Iterable[str]:
    for line in text.splitlines(keepends=True):
        if not line.startswith("|"):
            return
        yield line


def files() -> dict[Path, str]:
    """Return the content of every document that repeats facts of the alerts."""
    thresholds = load(KNOBS)
    pages = {path: path.read_text(encoding="utf-8") for path in [*sorted(RUNBOOKS.glob("*.md")), README]}
    changed = {path: runbook(text, thresholds) for path, text in pages.items() if path not in (INDEX, README)}
    changed[INDEX] = table(pages[INDEX], "| alert | severity, threshold |", index_rows(thresholds))
    changed[README] = table(pages[README], "| about | alerts |", readme_rows(thresholds))
    return changed


def main() -> int:
    """Write the documents; returns 0."""
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
