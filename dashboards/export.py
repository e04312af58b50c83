"""Turns grafanalib's objects into the JSON that Grafana 9.4 and newer understand; decides nothing about a dashboard.

grafanalib 0.7.1 also writes what Grafana 8 and older wanted: what is not named here is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dashboards.pieces import SOURCE

_DASHBOARD_KEYS = (
    *("uid", "title", "description", "tags", "schemaVersion", "version", "editable", "graphTooltip", "refresh"),
    *("time", "timezone", "templating", "annotations", "links"),
)
_VARIABLE_KEYS = (
    *("type", "name", "label", "query", "datasource", "includeAll", "multi", "allValue", "options"),
    *("refresh", "sort", "hide"),
)
_PANEL_KEYS = (
    *("id", "type", "title", "description", "gridPos", "datasource", "targets", "fieldConfig", "options"),
    *("transformations", "collapsed", "panels"),
)
_TARGET_KEYS = ("refId", "datasource", "expr", "legendFormat", "format", "instant")
_STEP_KEYS = {"color", "value"}
# What a variable is set to at first: grafanalib knows no uid of a data source, and writes one value for several.
_CURRENT = {
    # The one that is provisioned. Without a value, or where there is none such, Grafana takes the first by name.
    "datasource": {"selected": True, "text": "CommEazy Prometheus", "value": "commeazy-prometheus"},
    "query": {"selected": True, "text": ["All"], "value": ["$__all"]},
}


@dataclass(frozen=True)
class Page:
    """A dashboard as `generate-dashboards` wants it: `model` is grafanalib's Dashboard."""

    model: Any

    def to_json_data(self) -> dict[str, Any]:
        """Return Grafana's JSON model."""
        model: dict[str, Any] = _plain(self.model)
        kept = {key: model[key] for key in _DASHBOARD_KEYS} | {"panels": [_panel(panel) for panel in model["panels"]]}
        kept["templating"] = {"list": [_variable(each) for each in model["templating"]["list"]]}
        clean: dict[str, Any] = _without_nulls(kept)
        return clean


def _plain(node: Any) -> Any:  # noqa: ANN401 - grafanalib is untyped
    """Return what `json.dumps` can write of grafanalib's objects, which say it one level at a time."""
    if hasattr(node, "to_json_data"):
        return _plain(node.to_json_data())
    if isinstance(node, dict):
        return {key: _plain(value) for key, value in node.items()}
    return [_plain(each) for each in node] if isinstance(node, list | tuple) else node


def _variable(variable: dict[str, Any]) -> dict[str, Any]:
    kept = {key: variable[key] for key in _VARIABLE_KEYS if key in variable}
    return kept | {"current": _CURRENT[variable["type"]]}


def _panel(panel: dict[str, Any]) -> dict[str, Any]:
    kept = {key: panel[key] for key in _PANEL_KEYS if key in panel}
    kept["datasource"] = SOURCE
    kept["targets"] = [
        {key: target[key] for key in _TARGET_KEYS} | {"range": not target["instant"], "editorMode": "code"}
        for target in panel["targets"]
    ]
    if panel["type"] in ("row", "text"):
        for key in ("datasource", "targets", "fieldConfig", "transformations"):
            kept.pop(key, None)
    if panel["type"] == "row":
        kept["panels"] = [_panel(inner) for inner in panel["panels"]]
    return kept


def _without_nulls(node: Any) -> Any:  # noqa: ANN401 - JSON
    """Leave out what is null, except where null is a threshold's value: it means "from the lowest on"."""
    if isinstance(node, list):
        return [_without_nulls(inner) for inner in node]
    if isinstance(node, dict):
        return {
            key: _without_nulls(value) for key, value in node.items() if value is not None or set(node) == _STEP_KEYS
        }
    return node
