"""Walks PromQL expressions for the tests: which series are selected, and which labels a result has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import promql_parser as promql

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# Labels that Prometheus itself adds to every scraped series.
TARGET = frozenset({"job", "instance"})


def selectors(expr: str) -> list[Any]:
    """Return every selector of an expression."""
    return list(_selectors(promql.parse(expr)))


def _selectors(node: Any) -> Iterator[Any]:  # noqa: ANN401 - the parser's nodes have no common type
    if isinstance(node, promql.VectorSelector):
        yield node
    elif isinstance(node, promql.MatrixSelector):
        yield node.vector_selector
    for child in _children(node):
        yield from _selectors(child)


def _children(node: Any) -> list[Any]:  # noqa: ANN401
    named = [getattr(node, name, None) for name in ("lhs", "rhs", "expr")]
    return [child for child in (*named, *(getattr(node, "args", None) or ())) if child is not None]


def result_labels(expr: str, labels: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """Return the labels that are sure to be on the result of an expression, given those of each metric."""
    return _labels(promql.parse(expr), labels)


def _labels(node: Any, labels: Mapping[str, frozenset[str]]) -> frozenset[str]:  # noqa: ANN401 - the parser's nodes have no common type
    match node:
        case promql.VectorSelector():
            return labels[str(node.name)]
        case promql.MatrixSelector():
            return _labels(node.vector_selector, labels)
        case promql.AggregateExpr():
            inner = _labels(node.expr, labels)
            listed = frozenset(node.modifier.labels) if node.modifier else frozenset()
            return inner & listed if _is_by(node) else inner - listed
        case promql.BinaryExpr():
            return _of_both(node, labels)
        case promql.Call():
            return _of_call(node, labels)
        case promql.ParenExpr() | promql.UnaryExpr():
            return _labels(node.expr, labels)
    raise NotImplementedError(type(node).__name__)


def _of_call(node: Any, labels: Mapping[str, frozenset[str]]) -> frozenset[str]:  # noqa: ANN401
    match node.func.name:
        case "absent":
            return frozenset(m.name for m in node.args[0].matchers.matchers if m.op == promql.MatchOp.Equal)
        case "histogram_quantile":
            return _labels(node.args[1], labels) - {"le"}
        case "vector" | "time":
            return frozenset()
        case "label_replace" | "label_join":
            there, label = _labels(node.args[0], labels), str(node.args[1].val)
            return there - {label} if node.args[2].val == "" else there | {label}
    return _labels(node.args[0], labels)


def _is_by(node: Any) -> bool:  # noqa: ANN401
    return node.modifier is None or node.modifier.type == promql.AggModifierType.By


def _is_scalar(node: Any) -> bool:  # noqa: ANN401
    return isinstance(node, promql.NumberLiteral) or (isinstance(node, promql.Call) and node.func.name == "time")


def _of_both(node: Any, labels: Mapping[str, frozenset[str]]) -> frozenset[str]:  # noqa: ANN401
    if _is_scalar(node.rhs):
        return _labels(node.lhs, labels)
    if _is_scalar(node.lhs):
        return _labels(node.rhs, labels)
    left, right = _labels(node.lhs, labels), _labels(node.rhs, labels)
    if str(node.op) == "or":
        return left & right
    if node.modifier and node.modifier.card == promql.VectorMatchCardinality.ManyToOne:
        return left | frozenset(node.modifier.group_labels)
    modifier = node.modifier.matching if node.modifier else None
    if str(node.op) in ("and", "unless") or modifier is None:
        return left
    listed = frozenset(modifier.labels)
    return left & listed if modifier.type == promql.LabelModifierType.Include else left - listed


def has_external(node: Any) -> bool | None:  # noqa: ANN401 - the parser's nodes have no common type
    """Tell whether the result of an expression has external labels; None for a number, which matches everything.

    Raises:
        ValueError: the expression matches a result that has them with one that has not.
    """
    match node:
        case promql.VectorSelector() | promql.MatrixSelector():
            return True
        case promql.NumberLiteral():
            return None
        case promql.AggregateExpr():
            inner = has_external(node.expr)
            return False if _is_by(node) else inner
        case promql.BinaryExpr():
            return _external_of_both(node)
        case promql.Call():
            return _external_of_call(node)
        case promql.SubqueryExpr() | promql.ParenExpr() | promql.UnaryExpr():
            return has_external(node.expr)
    raise NotImplementedError(type(node).__name__)


def _external_of_call(node: Any) -> bool | None:  # noqa: ANN401
    if node.func.name in ("vector", "absent"):
        return False
    found = [has_external(each) for each in node.args if not isinstance(each, promql.StringLiteral)]
    return next((each for each in found if each is not None), None)


def _external_of_both(node: Any) -> bool | None:  # noqa: ANN401
    left, right = has_external(node.lhs), has_external(node.rhs)
    if left is None or right is None:
        return right if left is None else left
    matching = node.modifier.matching if node.modifier else None
    listed = matching is not None and matching.type == promql.LabelModifierType.Include
    if left != right and not listed and str(node.op) != "or":
        raise ValueError(f"{left} and {right} are matched on all labels: {node.prettify()}")
    one_to_one = node.modifier is None or node.modifier.card == promql.VectorMatchCardinality.OneToOne
    if str(node.op) in ("and", "unless", "or") or not listed or not one_to_one:
        return left
    return False
