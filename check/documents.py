"""The command that writes what is made from checklist.yaml: docs/checklist.md, and the rules that record each item.

docs/checklist.md is written by hand up to its line "## The items".
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from alerts.render import document
from check.items import RECORDED, checklist

if TYPE_CHECKING:
    from collections.abc import Iterator

    from check.items import Item

ROOT: Final = Path(__file__).parents[1]
PAGE: Final = ROOT / "docs" / "checklist.md"
RULES: Final = ROOT / "alerts" / "rules" / "checklist.yaml"
# Nothing here changes within seconds, and some expressions look back an hour or a week.
INTERVAL: Final = "1m"
_BEGIN: Final = "## The items\n"
_DAY: Final = 86400


def rules() -> str:
    """Return the rule file that records `checklist_item` for each item."""
    recorded = [
        {"record": RECORDED, "expr": item.recorded, "labels": {"id": item.id}} for item in checklist().items.values()
    ]
    return document({"checklist": recorded}, "make generate", "check/checklist.yaml", {"checklist": INTERVAL})


def page(text: str) -> str:
    """Return docs/checklist.md with its items brought up to date.

    Raises:
        ValueError: the page has no line "## The items".
    """
    return "\n".join([text[: text.index(_BEGIN) + len(_BEGIN)], *_items()])


def _items() -> Iterator[str]:
    items, sections = checklist().items.values(), checklist().sections
    machine = [item for item in items if not item.attest]
    yield f"{len(items)} items: {len(machine)} are judged by a machine, {len(items) - len(machine)} by a person.\n"
    for letter, title in sections.items():
        yield f"### {letter}. {title}\n"
        for item in checklist().of(letter):
            yield from _item(item)


def _item(item: Item) -> Iterator[str]:
    yield f"**{item.id}. {item.text}.** {item.why}\n"
    if item.attest:
        yield f"A person attests it, every {item.attest / _DAY:.0f} days: {item.action}"
    else:
        yield f"Judged by {_judge(item)}. If it fails: {item.action}"
    yield f"Cannot see: {item.blind}\n"
    if item.expr:
        yield f"```promql\n{item.expr}\n```\n"


def _judge(item: Item) -> str:
    probe = f"the check `{item.probe}` from the monitoring host"
    scraped = "metrics in Prometheus"
    return " and ".join([*([scraped] if item.expr else []), *([probe] if item.probe else [])])


def main() -> int:
    """Write the files; returns 0."""
    RULES.write_text(rules(), encoding="utf-8")
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
