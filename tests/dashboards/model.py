"""Reads the generated dashboards for the tests: panels, queries, variables; judges nothing."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import promql_parser as promql

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = Path(__file__).parents[2] / "dashboards"
DASHBOARDS: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))
}
# The dashboards that there must be: uid and title, by hand.
PAGES = {
    "prosody-overview": "Prosody Overview",
    "presence-health": "Presence Health",
    "websocket-health": "WebSocket Health",
    "push-gateway-health": "Push Gateway Health",
    "postgresql": "PostgreSQL",
    "coturn": "Coturn",
    "haproxy": "HAProxy",
    "promises": "Promises",
    "hosts": "Hosts",
}
RATE_INTERVAL = timedelta(seconds=4711)  # what stands for $__rate_interval: nobody writes it by hand


@dataclass(frozen=True)
class Panel:
    """One panel of a dashboard, and the row it is folded into, if it is."""

    uid: str
    json: dict[str, Any]

    @property
    def name(self) -> str:
        """The words a failing test shows."""
        return f"{self.uid}: {self.json['title']}"


@dataclass(frozen=True)
class Asked:
    """One query of a panel."""

    panel: Panel
    target: dict[str, Any]

    @property
    def name(self) -> str:
        """The words a failing test shows."""
        return f"{self.panel.name} {self.target['refId']}"

    @property
    def expr(self) -> str:
        """The query as PromQL understands it."""
        return plain(self.target["expr"])


def plain(expr: str) -> str:
    """Put a duration in place of Grafana's; the node variable stays, as text in a matcher."""
    return expr.replace("$__rate_interval", f"{RATE_INTERVAL.total_seconds():.0f}s")


def all_panels(uid: str) -> Iterator[Panel]:
    """Yield headings, panels and folded panels of a dashboard."""
    for panel in DASHBOARDS[uid]["panels"]:
        yield Panel(uid, panel)
        yield from (Panel(uid, inner) for inner in panel.get("panels", ()))


PANELS = [panel for uid in DASHBOARDS for panel in all_panels(uid)]
DATA_PANELS = [panel for panel in PANELS if panel.json["type"] not in ("row", "text")]
QUERIES = [Asked(panel, target) for panel in DATA_PANELS for target in panel.json["targets"]]


def names(items: list[Any]) -> list[str]:
    """Return the names of panels or queries, for pytest's ids."""
    return [item.name for item in items]


def walk(node: Any, *above: Any) -> Iterator[tuple[Any, tuple[Any, ...]]]:  # noqa: ANN401 - the parser has no types
    """Yield every node of a parsed query with those around it, the outermost first."""
    yield node, above
    named = [getattr(node, name, None) for name in ("lhs", "rhs", "expr", "vector_selector")]
    for child in (*named, *(getattr(node, "args", None) or ())):
        if child is not None:
            yield from walk(child, *above, node)


def selectors(expr: str) -> list[tuple[Any, tuple[Any, ...]]]:
    """Return every vector selector of a query with what is around it."""
    return [found for found in walk(promql.parse(expr)) if isinstance(found[0], promql.VectorSelector)]
