"""How an item is judged from Prometheus' answers: what is wrong is FAIL, what cannot be known is UNKNOWN, never ok."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from check.client import HttpClient
from check.items import ANY, Item, Need, checklist
from check.judging import Finding, Sources, judge
from check.probes import Probed
from check.prometheus import PrometheusApi
from tests.check.servers import Api, always, serving

if TYPE_CHECKING:
    from tests.check.servers import Respond

PROSODY, SOMEWHERE, FRESH, YOUNG = Need("x", "prosody"), Need("y", ANY), "time() - z > 9", "tries == 0"
ITEM = Item(
    "A1", "x is 1", "Why.", "Do it.", "Blind.", "x", needs=(PROSODY, SOMEWHERE), unknown=FRESH, unmeasured=YOUNG
)


def _series(*samples: tuple[dict[str, str], str]) -> dict[str, Any]:
    return {"data": {"result": [{"metric": labels, "value": [0, value]} for labels, value in samples]}}


def _judged(respond: Respond, *items: Item) -> list[Finding]:
    with serving(respond) as url:
        return judge(items, Sources(PrometheusApi(HttpClient(url, timeout=5)), {"p": lambda: Probed("ok")}, {}, 0))


NODE_1, NODE_2 = {"job": "prosody", "instance": "prosody1"}, {"job": "prosody", "instance": "prosody2"}
RIGHT = {
    "/api/v1/query vector(1)": _series(({}, "1")),
    "/api/v1/query x": _series((NODE_1, "1"), (NODE_2, "1")),
    f"/api/v1/query {PROSODY.missing}": _series(),
    f"/api/v1/query {SOMEWHERE.missing}": _series(),
    f"/api/v1/query {FRESH}": _series(),
    f"/api/v1/query {YOUNG}": _series(),
}


@pytest.mark.parametrize(
    ("question", "answer", "status", "detail"),
    [
        ("x", RIGHT["/api/v1/query x"], "ok", ""),
        ("x", _series((NODE_1, "1"), (NODE_2, "0")), "FAIL", "prosody2; Do it."),
        ("x", _series(), "UNKNOWN", "no data for x"),
        ("x", _series((NODE_1, "NaN")), "UNKNOWN", "no usable number from prosody1"),
        ("x", _series((NODE_1, "0.5")), "UNKNOWN", "no usable number from prosody1"),
        (PROSODY.missing, _series((NODE_2, "1")), "UNKNOWN", "no x of prosody2 (job prosody)"),
        (PROSODY.missing, _series(({"job": "prosody"}, "1")), "UNKNOWN", "Prometheus has no target of the job prosody"),
        (SOMEWHERE.missing, _series(({}, "1")), "UNKNOWN", "no y"),
        (FRESH, _series((NODE_1, "10")), "UNKNOWN", "not known while time() - z > 9 (prosody1)"),
        (YOUNG, _series((NODE_2, "0")), "UNKNOWN", "nothing measured yet of prosody2"),
    ],
)
def test_one_answer_decides(question: str, answer: dict[str, Any], status: str, detail: str) -> None:
    (found,) = _judged(Api(RIGHT | {f"/api/v1/query {question}": answer}), ITEM)
    assert (found.status, found.detail) == (status, detail)


def test_what_is_wrong_is_said_even_if_something_else_is_not_known() -> None:
    wrong = {"/api/v1/query x": _series((NODE_1, "0")), f"/api/v1/query {PROSODY.missing}": _series((NODE_2, "1"))}
    (found,) = _judged(Api(RIGHT | wrong), ITEM)
    assert found.status == "FAIL"


def test_one_question_that_is_refused_makes_one_item_unknown() -> None:
    refused = {key: answer for key, answer in RIGHT.items() if FRESH not in key}
    (found,) = _judged(Api(refused), ITEM)
    assert found.status == "UNKNOWN"
    assert found.detail.startswith("Prometheus cannot be asked: ")


@pytest.mark.parametrize("respond", [always(200, b"<html>"), always(200, b"{}"), always(503, b"")])
def test_a_prometheus_that_does_not_answer_is_asked_once_and_not_by_every_item(respond: Respond) -> None:
    asked = []

    def counting(handler: Any) -> None:  # noqa: ANN401 - as http.server has it
        asked.append(handler.path)
        respond(handler)

    items = [item for item in checklist().items.values() if item.expr and not item.probe]
    found = _judged(counting, *items)
    assert {each.status for each in found} == {"UNKNOWN"}
    assert len(found) > 30
    assert len(asked) == 1
