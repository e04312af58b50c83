"""What the rules that all promises share must make of given series, of three promises at once, as promtool's test.

The first promise has pairs of nodes, the second single nodes; the third has bad events at one pair, and none in the
other windows. Each minute is a case of its own. Runs nothing.
"""

from __future__ import annotations

from typing import Any, Final

import yaml

from alerts.generate import RULES

Labels = dict[str, str]

PAIRS, SINGLE, QUIET = (
    {"sloth_service": "commeazy", "sloth_slo": slo, "sloth_id": f"commeazy-{slo}"}
    for slo in ("pairs", "single", "quiet")
)
_WINDOWS: Final = ("5m", "30m", "1h", "2h", "6h", "1d", "3d", "30d")
# By place, the bad events of half an hour in each minute; three are enough for a page of the first promise, and five
# of the second.
_NONE: Final = "stale"
_PLACES: Final = {
    ("A", "A"): ("10", "95", "9", "9", "1", "90", _NONE, _NONE, _NONE, "3", "10", "5", *(_NONE,) * 3),
    ("B", "B"): (_NONE, "5", "2", "3", "1", "10", _NONE, _NONE, _NONE, "2", *(_NONE,) * 5),
    ("C", "C"): (*(_NONE,) * 10, "5", "5", "5", _NONE, _NONE),
    ("A", "B"): (*(_NONE,) * 6, "5", _NONE, "5", _NONE, "85", "90", "95", _NONE, _NONE),
    ("A", "C"): (*(_NONE,) * 8, "5", *(_NONE,) * 6),
    ("any", "any"): (*(_NONE,) * 13, "5", _NONE),
    ("any", "A"): (*(_NONE,) * 14, "5"),
}
_SINGLES: Final = (("A", 6), ("B", 1))
# Each node's share of the first promise's, and the one that explains them.
_SHARES: Final[tuple[tuple[dict[str, float], str], ...]] = (
    ({"A": 1}, "A"),
    ({"A": 0.95, "B": 0.05}, "A"),  # five elsewhere are not few, but few of so many
    ({"A": 9 / 11, "B": 2 / 11}, "A"),  # two elsewhere are too few for a page
    ({"A": 0.75, "B": 0.25}, ""),
    ({"A": 0.5, "B": 0.5}, ""),  # too few everywhere
    ({"A": 0.9, "B": 0.1}, ""),
    ({"A": 1, "B": 1}, ""),  # either may be it
    ({}, ""),
    ({"A": 1, "B": 0.5, "C": 0.5}, "A"),
    ({"A": 0.6, "B": 0.4}, "A"),  # two elsewhere, but three elsewhere than on B
    ({"A": 0.95, "B": 0.85, "C": 0.05}, "A"),
    ({"A": 0.95, "B": 0.9, "C": 0.05}, "A"),
    ({"A": 0.95, "B": 0.95, "C": 0.05}, ""),
    ({}, ""),  # any is no node
    ({"A": 1}, "A"),
)


def _series(name: str, labels: Labels, values: str) -> dict[str, str]:
    text = ",".join(f'{key}="{value}"' for key, value in labels.items())
    return {"series": f"{name}{{{text}}}", "values": values}


def _asked(name: str, minute: int, *found: tuple[Labels, float]) -> dict[str, Any]:
    samples = []
    for labels, value in found:
        text = ",".join(f'{key}="{label}"' for key, label in labels.items())
        samples.append({"labels": f"{name}{{{text}}}", "value": value})
    return {"expr": name, "eval_time": f"{minute}m", "exp_samples": samples}


def _given() -> list[dict[str, str]]:
    every = (PAIRS, SINGLE, QUIET)
    given = [
        _series("slo:bad_events:by_place30m", {**PAIRS, "from": sender, "to": receiver}, " ".join(values))
        for (sender, receiver), values in _PLACES.items()
    ]
    given += [_series("slo:bad_events:by_place30m", {**SINGLE, "instance": n}, f"{bad}x14") for n, bad in _SINGLES]
    given.append(_series("slo:bad_events:by_place30m", {**QUIET, "from": "A", "to": "B"}, "5x14"))
    for name, values in (
        ("slo:bad_events:minimum", ("3", "5", "3")),
        ("slo:objective:ratio", ("0.999", "0.99", "0.999")),
        ("slo:error_budget:ratio", ("0.001", "0.01", "0.001")),
        ("slo:measured:seconds", ("21600", "21599", "86400")),
    ):
        given += [_series(name, each, f"{value}x14") for each, value in zip(every, values, strict=True)]
    for window in _WINDOWS:
        for each, bad, events in ((PAIRS, 2, 40), (SINGLE, 0.75, 1), (QUIET, 0, 0)):
            labels = {**each, "sloth_window": window}
            given.append(_series(f"slo:bad_events:increase{window}", labels, f"{bad}x14"))
            given.append(_series(f"slo:events:increase{window}", labels, f"{events}x14"))
    for node, sessions in (("A", 3000), ("B", 1000)):
        given.append(_series("prosody_c2s_sessions", {"job": "prosody", "instance": node}, f"{sessions}x14"))
    return given


def _wanted() -> list[dict[str, Any]]:
    wanted = []
    for minute, (shares, node) in enumerate(_SHARES):
        of_nodes = [({**PAIRS, "instance": each}, share) for each, share in shares.items()]
        of_nodes += [({**SINGLE, "instance": each}, bad / 7) for each, bad in _SINGLES]
        of_nodes += [({**QUIET, "instance": each}, 1) for each in "AB"]
        wanted.append(_asked("slo:bad_events_of_node:ratio", minute, *of_nodes))
        explained = {**PAIRS, "instance": node} if node else PAIRS
        wanted.append(
            _asked("slo:explained_by:bool", minute, (explained, 1), ({**SINGLE, "instance": "A"}, 1), (QUIET, 1))
        )
    for window in _WINDOWS:
        ratios = (({**each, "sloth_window": window}, ratio) for each, ratio in ((PAIRS, 0.05), (SINGLE, 0.75)))
        wanted.append(_asked(f"slo:sli_error:ratio_rate{window}", 0, *ratios))
    wanted.append(_asked("slo:current_burn_rate:ratio", 0, (PAIRS, 50), (SINGLE, 75)))
    wanted.append(_asked("slo:period_burn_rate:ratio", 0, (PAIRS, 50), (SINGLE, 75)))
    wanted.append(_asked("slo:period_error_budget_remaining:ratio", 0, (PAIRS, -49)))
    wanted.append(_asked("slo:connections:ratio", 0, ({}, 0.04)))
    return wanted


def rules() -> list[dict[str, Any]]:
    """Return the rules that are of no promise in particular."""
    groups = yaml.safe_load((RULES / "promises.yaml").read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"] if "sloth_slo" not in rule.get("labels", {})]


def test() -> dict[str, Any]:
    """Return promtool's test file, without the rules."""
    case = {"interval": "1m", "input_series": _given(), "promql_expr_test": _wanted()}
    return {"evaluation_interval": "1m", "tests": [case]}
