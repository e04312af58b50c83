"""Every small way in which a rule could be wrong: the mutants of a rule, as rules. Runs nothing."""

from __future__ import annotations

import copy
import re
from typing import TYPE_CHECKING, Any, Final

import promql_parser

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Rule = dict[str, Any]

_SWAPS: Final = {
    r"(?<![<>=!])>(?!=)": (">=", "<"),
    r"(?<![<>=!])<(?!=)": ("<=", ">"),
    r">=": (">", "<"),
    r"==": ("!=",),
    r"\band\b": ("unless", "or"),
    r"\bunless\b": ("and", "or"),
    r"\bor\b": ("and", "unless"),
    r" / |\n/\n": (" * ",),
    r" \* ": (" + ",),
    r" \+ ": (" - ",),
    r"\bsum\b": ("max", "avg"),
    r"\bmax\b": ("min",),
    r"\bcount\b": ("sum",),
    r"\brate\b": ("increase",),
    r"\bincrease\b": ("rate",),
    r"\bresets\b": ("changes",),
    r"\babsent\b": ("",),
}
_NUMBER: Final = re.compile(r"(?<![\w.:])\d+(?:\.\d+)?(?![\w.:])")
_WINDOW: Final = re.compile(r"\[(\d+)([mhd])\]")
_MINUTES: Final = {"m": 1, "h": 60, "d": 1440}
_HOLD: Final = re.compile(r"(\d+)([smh])")
_CLAUSE: Final = re.compile(r"\b(?:by|on|ignoring) \(([^)]*)\)")
_MATCHER: Final = re.compile(r'(\w+)(=~|!~|!=|=)"([^"]*)"')
_NEGATED: Final = {"=": "!=", "!=": "=", "=~": "!~", "!~": "=~"}


def of_rule(rule: Rule) -> Iterator[tuple[str, Rule]]:
    """Yield (what was changed, the changed rule) for an alerting or recording rule as `yaml` reads it."""
    for change, expr in dict(_of_expression(rule["expr"])).items():
        yield change, rule | {"expr": expr}
    if "record" in rule:
        yield "another name", rule | {"record": rule["record"] + "_mutant"}
        for key, text in rule.get("labels", {}).items():
            yield f"{key}: {text}!", rule | {"labels": rule["labels"] | {key: text + "!"}}
        return
    yield "another name", rule | {"alert": rule["alert"] + "Mutant"}
    for hold in _holds(rule.get("for")):
        yield f"for: {hold}", rule | {"for": hold}
    for section in ("labels", "annotations"):
        for key, text in rule[section].items():
            without, altered = copy.deepcopy(rule), copy.deepcopy(rule)
            del without[section][key]
            altered[section][key] = _another(key, text)
            yield f"without {key}", without
            yield f"{key}: {altered[section][key]}", altered


def _another(key: str, text: str) -> str:
    if key == "severity":
        return "critical" if text != "critical" else "warning"
    return text + "!"


def _holds(hold: str | None) -> list[str]:
    if hold is None:
        return ["15s"]
    found = _HOLD.fullmatch(hold)
    assert found, hold
    seconds = int(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]]
    return ["0s", f"{seconds // 2}s", f"{seconds * 2}s"]


def _of_expression(expr: str) -> Iterator[tuple[str, str]]:
    """Yield (what was changed, the expression) for each mutant that still is PromQL and not the same expression."""
    original = promql_parser.parse(expr).prettify()
    for start, end, text in _edits(expr):
        mutant = expr[:start] + text + expr[end:]
        try:
            pretty = promql_parser.parse(mutant).prettify()
        except ValueError:
            continue
        if pretty != original:
            yield (
                f"{' '.join(expr[start:end].split()) or '(nothing)'} -> {text.strip() or '(nothing)'} at {start}",
                mutant,
            )


def _edits(expr: str) -> Iterator[tuple[int, int, str]]:
    """Yield (from, to, new text)."""
    quoted = [match.span() for match in re.finditer(r'"[^"]*"', expr)]

    def code(match: re.Match[str]) -> bool:
        return not any(start < match.start() < end for start, end in quoted)

    for match in filter(code, _NUMBER.finditer(expr)):
        yield from ((*match.span(), text) for text in _near(match[0]))
    for match in _MATCHER.finditer(expr):
        yield from _of_matcher(match, expr)
    for name in sorted(_metrics(promql_parser.parse(expr))):
        for match in filter(code, re.finditer(rf"(?<![\w:]){re.escape(name)}(?![\w:])", expr)):
            yield *match.span(), name + "_mutant"
    yield from _of_operators(expr, code)


def _of_operators(expr: str, code: Callable[[re.Match[str]], bool]) -> Iterator[tuple[int, int, str]]:
    """Yield what operators, functions, windows and label lists could be instead; `code` knows what is not quoted."""
    for pattern, replacements in _SWAPS.items():
        for match in filter(code, re.finditer(pattern, expr)):
            yield from ((*match.span(), text) for text in replacements)
    for match in _WINDOW.finditer(expr):
        minutes = int(match[1]) * _MINUTES[match[2]]
        yield from ((*match.span(), f"[{minutes * factor // 2}m]") for factor in (1, 4))
    for match in _CLAUSE.finditer(expr):
        labels = [label.strip() for label in match[1].split(",")]
        for label in labels:
            kept = ", ".join(other for other in labels if other != label)
            yield *match.span(1), kept
        yield *match.span(), ""


def _near(number: str) -> tuple[str, ...]:
    if "." in number:
        return f"{float(number) * 1.1:.4g}", f"{float(number) * 0.9:.4g}"
    return (str(int(number) + 1), str(int(number) - 1)) if int(number) else ("1",)


def _of_matcher(match: re.Match[str], expr: str) -> Iterator[tuple[int, int, str]]:
    name, operator, value = match.groups()
    comma = 1 if expr[match.end()] == "," else 0
    yield match.start(), match.end() + comma, ""
    yield *match.span(), f'{name}{_NEGATED[operator]}"{value}"'
    yield *match.span(), f'{name}{operator}"{value}x"'
    alternatives = value.split("|")
    for dropped in alternatives if len(alternatives) > 1 else ():
        yield *match.span(), f'{name}{operator}"{"|".join(other for other in alternatives if other != dropped)}"'


def _metrics(node: Any) -> set[str]:  # noqa: ANN401 - the parser's nodes have no common type
    """Find the metric names in an expression."""
    if isinstance(node, promql_parser.VectorSelector):
        return {node.name} if node.name else set()
    if isinstance(node, promql_parser.MatrixSelector):
        return _metrics(node.vector_selector)
    children = [getattr(node, name, None) for name in ("lhs", "rhs", "expr")] + list(getattr(node, "args", None) or ())
    return set().union(*(_metrics(child) for child in children if child is not None))
