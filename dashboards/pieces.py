"""The small parts that panels are made of: queries, colours, mappings, overrides. Builds no panel, knows no metric."""

from __future__ import annotations

import re
import string
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

from grafanalib import core

if TYPE_CHECKING:
    from collections.abc import Sequence

SOURCE = {"type": "prometheus", "uid": "${datasource}"}
NO_DATA = "NO DATA"
FAR = 1e15  # stands for "no end" in a range of values, which Grafana's versions write in different ways

# --- Colours: each has one meaning on every dashboard ----------------------------------------------------------------

CALM = "transparent"  # the fill of a tile or a cell that is fine: colour is for what is not
GOOD = "blue"
WARNING = "super-light-orange"  # a fill; Grafana writes white on a darker one, and hardly legibly
CRITICAL = "dark-red"
UNKNOWN = "purple"
FAILURE = "red"  # a line that counts failures
# What a tile's trend is drawn on: Grafana fills the trend with white, so the ground must be darker than a light page.
# It is so thin that Grafana writes on it in the page's own colour.
TREND = "rgba(0, 0, 0, 0.28)"
LIMIT = "#808080"  # the dashed line of an alert's limit
# A node has the same colour in every panel: that of the first number in its name (prosody1, postgres2, ...), by its
# last digit. There is no seventh colour: 1 and 7, 2 and 8, ... share one.
NODES = {
    "17": "blue",
    "28": "green",
    "39": "dark-yellow",
    "40": "super-light-blue",
    "5": "dark-green",
    "6": "dark-blue",
}
ANY_NODE = "dark-blue"  # what HAProxy chooses for the test users that want no certain node
PLAIN = "blue"  # a line that no number and no value names; Grafana would give it red or orange by its position
# What a value of a label looks like, in every panel whose lines differ in this label.
VALUES: dict[str, dict[str, str]] = {
    "handler": {"voip": "green", "fcm": "blue"},
    "kind": {
        "message": "blue",
        "presence": "green",
        "iq": "dark-yellow",
        "call": "super-light-blue",
        "other": "dark-green",
    },
    "result": {
        "success": "blue",
        "failure": FAILURE,
        "ok": "blue",
        "woke": "blue",
        "silent": FAILURE,
        "superseded": "dark-yellow",
    },
    "leg": {"to gateway": "blue", "to provider": "green", "to phone": "dark-yellow"},
    "step": {"handed on": "blue", "received": "green", "sent": "dark-yellow", "woke": "super-light-blue"},
    "transport": {
        "websocket": "blue",
        "tcp": "green",
        "bosh": "dark-yellow",
        "udp": "super-light-blue",
        "tls": "dark-green",
    },
    "type": {"available": "blue", "unavailable": "dark-yellow"},
    "cause": {"read_timeout": "blue", "hibernation_expired": "dark-yellow"},
    "show": {
        "available": "blue",
        "away": "dark-yellow",
        "xa": "dark-blue",
        "unavailable": "super-light-blue",
        "chat": "green",
        "dnd": "dark-green",
    },
    "event": {"created": "blue", "refreshed": "green", "deleted": "dark-yellow"},
    "side": {"client": "blue", "peer": "green"},
    "state": {"active": "blue", "idle": "green", "idle in transaction": "dark-yellow"},
    "sloth_slo": {
        "message-delivered": "blue",
        "message-fast": "super-light-blue",
        "login": "green",
        "presence-gone": "dark-yellow",
        "turn": "dark-green",
        "call-push": "dark-blue",
    },
    "stage": {
        "queue": "dark-yellow",
        "token": "super-light-blue",
        "connect": "green",
        "provider": "blue",
        "response": "blue",
        "name": "blue",
        "tcp": "super-light-blue",
        "tls": "dark-green",
        "upgrade": "green",
        "sasl": "dark-yellow",
        "bind": "dark-blue",
    },
    "source": {"log": "blue", "relay_ports": "dark-yellow", "cli": "green"},
    "code": {
        "1xx": "blue",
        "2xx": "green",
        "3xx": "dark-yellow",
        "4xx": "dark-blue",
        "5xx": FAILURE,
        "other": "dark-green",
        "200": "blue",
        "400": "dark-yellow",
        "403": FAILURE,
        "408": "dark-green",
        "429": FAILURE,
        "401": "blue",
        "486": FAILURE,
        "508": FAILURE,
    },
    "journey": {
        "message": "blue",
        "login": "green",
        "resume": "dark-yellow",
        "presence_online": "super-light-blue",
        "presence_away": "dark-green",
        "presence_force_quit": "dark-yellow",
        "presence_vanish": "dark-blue",
        "turn_credentials": "blue",
        "turn_allocate": "dark-yellow",
        "turn_udp": "super-light-blue",
        "turn_tcp": "green",
        "turn_tls": "dark-green",
    },
}


class Look(Enum):
    """How a line differs from the plain one."""

    PLAIN = "solid, above zero"
    FAILURE = "red: it counts failures"
    DASHED = "dashed: the lesser of two of a kind, such as P50 beside P99"
    LIMIT = "grey and dashed: a limit that differs from line to line, or changes"
    BELOW = "drawn below zero, such as what is sent under what is received"


class Query(NamedTuple):
    """One query of a panel: PromQL, the name of a line (or of a value) it gives, and what the line looks like."""

    expr: str
    legend: str = "{{instance}}"
    look: Look = Look.PLAIN

    @property
    def labels(self) -> list[str]:
        """The labels in its legend."""
        return re.findall(r"{{\s*(\w+)\s*}}", self.legend)


def as_queries(queries: Sequence[Query | str]) -> list[Query]:
    """Return queries; PromQL alone gives lines named after the node."""
    return [Query(query) if isinstance(query, str) else query for query in queries]


def targets(queries: Sequence[Query], *, form: str = "time_series", instant: bool = False) -> list[Any]:
    """Return grafanalib's targets for queries, with the names A, B, ... in their order."""
    return [
        target(query.expr, query.legend, ref, form=form, instant=instant)
        for ref, query in zip(string.ascii_uppercase, queries, strict=False)
    ]


def target(expr: str, legend: str, ref: str, *, form: str = "time_series", instant: bool = False) -> Any:  # noqa: ANN401 - grafanalib is untyped
    """Return grafanalib's target for one query."""
    return core.Target(datasource=SOURCE, expr=expr, legendFormat=legend, refId=ref, format=form, instant=instant)


# --- Values that are words -------------------------------------------------------------------------------------------


def step(value: float | None, colour: str) -> dict[str, Any]:
    """Return where a colour begins; None: from the lowest value on."""
    return {"color": colour, "value": value}


def between(low: float, high: float, colour: str, text: str | None = None) -> dict[str, Any]:
    """Return the mapping of a range, both ends included; without text the number stays."""
    result = {"color": colour, "index": 0} | ({} if text is None else {"text": text})
    return {"type": "range", "options": {"from": low, "to": high, "result": result}}


def special(match: str, text: str, colour: str | None = None) -> dict[str, Any]:
    """Return the mapping of "null", "nan" or "null+nan"; its colour, if it has one, wins over the field's."""
    return {"type": "special", "options": {"match": match, "result": {"text": text, "color": colour, "index": 0}}}


def exactly(values: dict[str, tuple[str, str]]) -> dict[str, Any]:
    """Return the mapping of single values, each to a text and a colour."""
    options = {
        value: {"text": text, "color": colour, "index": index}
        for index, (value, (text, colour)) in enumerate(values.items())
    }
    return {"type": "value", "options": options}


def recoloured(values: dict[str, str]) -> dict[str, Any]:
    """Return the mapping of single values, each to a colour that wins over the field's; the number stays."""
    return {"type": "value", "options": {value: {"color": colour, "index": 0} for value, colour in values.items()}}


# --- Overrides -------------------------------------------------------------------------------------------------------


def override(matcher: str, subject: str, **properties: Any) -> dict[str, Any]:  # noqa: ANN401 - Grafana's values are of any kind
    """Return an override; a double underscore in a property's name stands for a dot."""
    return {
        "matcher": {"id": matcher, "options": subject},
        "properties": [{"id": name.replace("__", "."), "value": value} for name, value in properties.items()],
    }


def fixed(colour: str) -> dict[str, str]:
    """Return the colour mode of lines that have one colour whatever their value."""
    return {"mode": "fixed", "fixedColor": colour}


def line_overrides(queries: Sequence[Query]) -> list[dict[str, Any]]:
    """Return colours and looks of a graph's lines: by a label's value or else by node, and by what the line counts."""
    coloured = {label for query in queries for label in query.labels} - {"instance"}
    by_value = [
        override("byRegexp", f"/(^| ){re.escape(value)}( |$)/", color=fixed(colour))
        for label in VALUES
        if label in coloured
        for value, colour in VALUES[label].items()
    ]
    by_node = [
        override("byRegexp", rf"/^\D*\d*[{digits}](?!\d)/", color=fixed(colour)) for digits, colour in NODES.items()
    ]
    by_node.append(override("byRegexp", "/(^| )any$/", color=fixed(ANY_NODE)))
    looks = [
        override("byRegexp", f"/^{_as_regex(query.legend)}$/", **_LOOKS[query.look])
        for query in queries
        if query.look is not Look.PLAIN
    ]
    return [*(by_value or by_node), *looks]


_DASHED = {"custom__lineStyle": {"fill": "dash", "dash": [6, 6]}, "custom__fillOpacity": 0}
_LOOKS: dict[Look, dict[str, Any]] = {
    Look.FAILURE: {"color": fixed(FAILURE)},
    Look.DASHED: _DASHED,
    Look.LIMIT: {"color": fixed(LIMIT)} | _DASHED,
    Look.BELOW: {"custom__transform": "negative-Y"},
}


def _as_regex(legend: str) -> str:
    return "".join(".+" if part.startswith("{{") else re.escape(part) for part in re.split(r"({{[^}]*}})", legend))
