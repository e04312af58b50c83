"""Reads the thresholds of the alerts; an error names the line of the file. It knows no PromQL."""

import math
import re
from argparse import ArgumentTypeError
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from toolkit.documents import ConfigError, compose, entries
from toolkit.values import duration

DEFAULTS: Final = Path(__file__).with_name("thresholds.yaml")
SEVERITIES: Final = ("critical", "warning", "none")
KNOBS: Final = ("value", "window", "minimum", "share")
REQUIRED: Final = ("for", "severity", "section", "reason")
OPTIONAL: Final = ("value", "unit", "window", "minimum", "minimum_of", "share", "sizing")
# What a number counts, by its key.
UNITS: Final = {"unit": "value", "minimum_of": "minimum"}
# The first of each pair must be the lower limit, or the warning would come after the page.
STEPS: Final = (("ProsodySessionsHigh", "ProsodySessionsCritical"),)
_DECIMAL: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]*)(?P<fraction>(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?)")
_PREFIXES: Final = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_TAG: Final = "tag:yaml.org,2002:"
_NUMBERS: Final = (f"{_TAG}int", f"{_TAG}float")


@dataclass(frozen=True)
class Threshold:
    """The tunable numbers of one alert. `hold` is the rule's `for`; durations are Prometheus' (`10m`).

    `minimum_of` says what is counted up to the minimum: pushes, seconds of measuring.
    """

    alert: str
    hold: str
    severity: str
    section: str
    reason: str
    value: float | None = None
    unit: str | None = None
    window: str | None = None
    minimum: float | None = None
    minimum_of: str | None = None
    share: float | None = None
    sizing: str | None = None

    @property
    def limit(self) -> str:
        """The value as a person reads it: `40,000 sessions`, `6 GB`, `5 %`."""
        if self.value is None or self.unit is None:
            return ""
        if self.unit == "ratio":
            return f"{self.value * 100:g} %"
        if self.unit == "bytes":
            for factor, prefix in _PREFIXES:
                if abs(self.value) >= factor:
                    return f"{self.value / factor:g} {prefix}B"
        return _counted(self.value, self.unit)

    @property
    def least(self) -> str:
        """The minimum as a person reads it: `20 pushes`."""
        return "" if self.minimum is None or self.minimum_of is None else _counted(self.minimum, self.minimum_of)


def _counted(value: float, unit: str) -> str:
    one = value == 1 and "/" not in unit
    return f"{value:,.10g} {unit.removesuffix('s') if one else unit}"


@dataclass(frozen=True)
class _Field:
    """One value of a file and where it stands."""

    value: object
    path: Path
    line: int


_Entries = dict[str, dict[str, _Field]]


def load(knobs: Mapping[str, frozenset[str]], overrides: Path | None = None) -> dict[str, Threshold]:
    """Read the default thresholds and, over them, some of another file.

    Args:
        knobs: for every alert there is, the numbers its expression takes (of `KNOBS`).
        overrides: a file of the same shape in which an alert names its reason and whatever differs from the default.

    Raises:
        ConfigError: for the first thing wrong in either file.

    """
    entries = _read(DEFAULTS, knobs)
    for alert in sorted(knobs.keys() - entries.keys()):
        raise ConfigError(DEFAULTS, None, f"{alert} is in the catalogue and has no entry here; add one")
    for alert, fields in entries.items():
        _complete(alert, fields, knobs[alert])
    if overrides is not None:
        for alert, fields in _read(overrides, knobs).items():
            _fits(alert, fields, entries[alert])
            entries[alert] = entries[alert] | fields
    _in_order(entries)
    return {alert: _threshold(alert, fields) for alert, fields in entries.items()}


def _read(path: Path, knobs: Mapping[str, frozenset[str]]) -> _Entries:
    """Read one file and check everything about it that does not depend on another file."""
    root = compose(path, "--thresholds")
    if not isinstance(root, yaml.MappingNode):
        line = root.start_mark.line + 1 if root is not None else None
        raise ConfigError(path, line, "holds no alerts; write `ProsodyMemoryHigh:` and, indented, its keys")
    read: _Entries = {}
    for alert, line, node in entries(path, root, "the file").values():
        if alert not in knobs:
            raise ConfigError(path, line, f"there is no alert named {alert}; the names are those of docs/runbooks/")
        if not isinstance(node, yaml.MappingNode):
            raise ConfigError(path, line, f"{alert} must be a mapping of keys such as `for` and `reason`")
        read[alert] = {}
        for key, key_line, value in entries(path, node, alert).values():
            field = _Field(_scalar(value), path, key_line)
            _check(alert, key, field, knobs[alert])
            read[alert][key] = field
        if "reason" not in read[alert]:
            raise ConfigError(path, line, f"{alert} has no reason; say why the number is what it is")
    return read


def _scalar(node: yaml.Node) -> object:
    """Return a scalar's number or text, None for null, and the node itself for anything else."""
    if not isinstance(node, yaml.ScalarNode) or node.tag == f"{_TAG}bool":
        return node
    if node.tag in _NUMBERS:
        return _number(node)
    return None if node.tag == f"{_TAG}null" else node.value


def _number(node: yaml.ScalarNode) -> object:
    """Return the number of decimal digits, or the node where YAML 1.1 reads another: 010 is 8, and 1:30 is 90."""
    text = node.value.replace("_", "")
    if text.lower().lstrip("+-") in {".inf", ".nan"}:
        return math.nan
    if not (decimal := _DECIMAL.fullmatch(text)):
        return node
    value = float(text)
    return int(text) if math.isfinite(value) and not decimal["fraction"] else value


def _check(alert: str, key: str, field: _Field, knobs: frozenset[str]) -> None:
    """Refuse a key that does not belong to this alert, and a value of the wrong kind."""
    if key not in REQUIRED + OPTIONAL:
        known = ", ".join(REQUIRED + OPTIONAL)
        raise ConfigError(field.path, field.line, f"{alert} has an unknown key {key}; known are {known}")
    if (key in KNOBS or key in UNITS) and UNITS.get(key, key) not in knobs:
        raise ConfigError(field.path, field.line, f"{alert} takes no {key}; remove the line")
    problem: str | None = None
    match key:
        case "value" | "minimum":
            problem = _number_problem(field.value)
        case "share":
            problem = _number_problem(field.value)
            if problem is None and isinstance(field.value, int | float) and field.value > 1:
                problem = "must be a share of 1, such as 0.333"
        case "for" | "window":
            problem = _duration_problem(key, field.value)
        case "severity" if field.value not in SEVERITIES:
            problem = f"must be one of {', '.join(SEVERITIES)}"
        case "reason" | "unit" | "minimum_of" | "sizing" | "section" if not _is_text(field.value):
            problem = "must be a text that says something (in quotes if it looks like a number)"
        case _:
            pass
    if problem:
        raise ConfigError(field.path, field.line, f"{alert}: {key} {problem}")


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _number_problem(value: object) -> str | None:
    if isinstance(value, yaml.ScalarNode) and value.tag in _NUMBERS:
        return "must be a number in decimal digits (YAML reads 010 as 8 and 1:30 as 90)"
    if not isinstance(value, int | float):
        return "must be a number (YAML reads 6e9 as text: write 6_000_000_000)"
    return (
        None if math.isfinite(value) and value > 0 else "must be a finite number above 0 (severity: none switches off)"
    )


def _duration_problem(key: str, value: object) -> str | None:
    try:
        if isinstance(value, str) and "." not in value:  # Prometheus knows no decimals
            duration(value, zero=key == "for")
            return None
    except ArgumentTypeError:
        pass
    return f"must be a duration{' above 0s' if key == 'window' else ''} such as 90s, 10m or 1h30m"


def _complete(alert: str, fields: Mapping[str, _Field], knobs: frozenset[str]) -> None:
    units = (unit for unit, knob in UNITS.items() if knob in knobs)
    needed = (*REQUIRED, *sorted(knobs), *units, *(("sizing",) if "value" in knobs else ()))
    for key in needed:
        if key not in fields:
            raise ConfigError(DEFAULTS, fields["reason"].line, f"{alert} has no {key}; its rule needs one")
    _ratio_in_range(alert, fields["unit"].value if "unit" in fields else None, fields)


def _fits(alert: str, fields: Mapping[str, _Field], defaults: Mapping[str, _Field]) -> None:
    """Refuse an override in another unit, since its number would be a wrong threshold."""
    for key, knob in UNITS.items():
        if key in fields and fields[key].value != defaults[key].value:
            unit = defaults[key].value
            raise ConfigError(fields[key].path, fields[key].line, f"{alert} is in {unit}; convert the {knob}")
    _ratio_in_range(alert, defaults["unit"].value if "unit" in defaults else None, fields)


def _ratio_in_range(alert: str, unit: object, fields: Mapping[str, _Field]) -> None:
    value = fields.get("value")
    if unit == "ratio" and value and isinstance(value.value, int | float) and value.value >= 1:
        raise ConfigError(value.path, value.line, f"{alert}: value is a ratio and must be below 1 (5 % is 0.05)")


def _in_order(entries: _Entries) -> None:
    for soft, hard in STEPS:
        low, high = entries[soft]["value"], entries[hard]["value"]
        if not (isinstance(low.value, int | float) and isinstance(high.value, int | float)):
            continue
        if low.value >= high.value:
            at = low if low.path != DEFAULTS or high.path == DEFAULTS else high
            raise ConfigError(
                at.path, at.line, f"{soft} ({low.value:,}) must warn below {hard} ({high.value:,}); change one of them"
            )


def _threshold(alert: str, fields: Mapping[str, _Field]) -> Threshold:
    def text(key: str) -> str | None:
        return " ".join(str(fields[key].value).split()) if key in fields else None

    def number(key: str) -> float | None:
        value = fields[key].value if key in fields else None
        return value if isinstance(value, int | float) else None

    return Threshold(
        alert=alert,
        hold=text("for") or "0s",
        severity=text("severity") or "",
        section=text("section") or "",
        reason=text("reason") or "",
        value=number("value"),
        unit=text("unit"),
        window=text("window"),
        minimum=number("minimum"),
        minimum_of=text("minimum_of"),
        share=number("share"),
        sizing=text("sizing"),
    )
