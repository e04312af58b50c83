"""commeazy-maintenance on the lab's two nodes: planned work on one pages nobody, and hides nothing else."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from alerts.catalogue import KNOBS
from alerts.thresholds import load
from check.client import HttpClient
from check.maintenance import main
from check.silences import Silences
from dashboards.marks import PLANNED, STARTS
from lab.drill.thresholds import HASTE, write_thresholds
from lab.stack import Lab

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from check.prometheus import Sample

PATIENCE = 240.0


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Run two nodes behind HAProxy, watched by rules and an Alertmanager whose times are divided by HASTE."""
    with Lab() as stack:
        file: Path = tmp_path_factory.mktemp("thresholds") / "drill.yaml"
        stack.prometheus.thresholds = write_thresholds(file, load(KNOBS))
        stack.alertmanager.haste = HASTE
        stack.start(stack.providers)
        for node in stack.nodes:
            node.configure()
            stack.start(node.push_gateway, node.prosody, node.exporter)
        stack.start(stack.haproxy, stack.receivers, stack.alertmanager, stack.prometheus)
        yield stack


def _run(lab: Lab, *arguments: str) -> int:
    places = ["--prometheus", lab.prometheus.url, "--alertmanager", lab.alertmanager.url, "--wait", "60"]
    return main([*arguments, *places, "--haproxy", f"{lab.haproxy.directory}/admin.sock"])


def _labels(samples: list[Sample], name: str) -> set[str]:
    return {sample.labels.get(name, "") for sample in samples}


def _states(lab: Lab) -> dict[str, str]:
    rows = [line.split(",") for line in lab.haproxy.tell("show stat").splitlines()]
    return {row[1]: row[17] for row in rows if row[0] == "prosody_ws"}


def _fires(lab: Lab, alert: str) -> bool:
    return bool(lab.prometheus.query(f'ALERTS{{alertname="{alert}",alertstate="firing"}}'))


def _until(lab: Lab, what: str, holds: object) -> None:
    deadline = time.monotonic() + PATIENCE
    assert callable(holds)
    while not holds():
        assert time.monotonic() < deadline, f"{what}: {[a['labels'] for a in lab.prometheus.alerts()]}"
        time.sleep(0.5)


@pytest.mark.timeout(400)  # two outages and their end, at the pace of the rules
def test_work_on_one_of_two_nodes_pages_nobody_while_another_outage_does_and_leaves_nothing_behind(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = lab.nodes
    _until(lab, "both nodes are up", lambda: _states(lab)[two.prosody.name] == "UP" == _states(lab)[one.prosody.name])
    _until(
        lab, "the rules have seen both", lambda: [s.value for s in lab.prometheus.query("haproxy_backend_up")] == [2]
    )
    assert _run(lab, "start", two.prosody.name) == 0
    assert _states(lab)[two.prosody.name].startswith("DRAIN")
    assert _run(lab, "status") == 0
    assert f"work on {two.prosody.name} is under way" in capsys.readouterr().out
    marks = lab.prometheus.query
    _until(lab, "work is marked", lambda: f"{two.prosody.name} is out of HAProxy" in _labels(marks(PLANNED), "what"))
    _until(lab, "each start is marked", lambda: len(_starts(lab)) == 5)
    starts = _starts(lab)
    assert {job for job, _ in starts} == {"prosody", "push-gateway", "haproxy"}
    assert _run(lab, "start", one.prosody.name) == 1, "one node at a time"

    two.prosody.stop()
    two.push_gateway.stop()
    _until(lab, "its alerts fire", lambda: _fires(lab, "ProsodyDown") and _fires(lab, "HaproxyBackendNodesLow"))
    one.push_gateway.kill()  # a real outage of the other node, at the same time
    told = lab.receivers.notifications

    def about(node: str) -> list[str]:
        return [one.alert for one in told() if node in one.text]

    _until(lab, "the other outage pages", lambda: "PushGatewayDown" in about(one.prosody.name))
    assert not about(two.prosody.name)
    assert "HaproxyBackendNodesLow" not in [one.alert for one in told()]

    assert main(["end", two.prosody.name, "--wait", "1", *_places(lab)]) == 1, "Prosody is still down"
    assert Silences(HttpClient(lab.alertmanager.url)).nodes(), "so the silences stay"
    two.push_gateway.start()
    two.prosody.start()
    one.push_gateway.start()
    assert _run(lab, "end", two.prosody.name) == 0
    assert _states(lab)[two.prosody.name] == "UP"
    assert Silences(HttpClient(lab.alertmanager.url)).nodes() == {}
    assert not about(two.prosody.name)
    _until(lab, "its end is marked", lambda: not marks(PLANNED))
    again = _starts(lab)
    moved = {where for where, at in again.items() if at > starts[where] + 1000}
    assert ("prosody", two.prosody.name) in moved, "it was started again"
    assert ("haproxy", "haproxy1") not in moved
    assert {*_starts(lab, shown_from=max(starts.values()) + 1)} == moved, (
        "what started before the shown time is no mark"
    )


def _starts(lab: Lab, shown_from: float = 0) -> dict[tuple[str, str], float]:
    """Return when each server started, in milliseconds, by job and node; the shown time begins at `shown_from`."""
    marks = lab.prometheus.query(STARTS.replace("$__from", str(shown_from)))
    return {(mark.labels["job"], mark.labels["instance"]): mark.value for mark in marks}


def _places(lab: Lab) -> list[str]:
    urls = ["--prometheus", lab.prometheus.url, "--alertmanager", lab.alertmanager.url]
    return [*urls, "--haproxy", f"{lab.haproxy.directory}/admin.sock"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["start", "prosody9"], 1, "has no server prosody9; it has prosody1, prosody2"),
        (["start", "prosody1", "--haproxy", "/nowhere.sock"], 2, "/nowhere.sock: "),
        (["end", "prosody1", "--alertmanager", "http://127.0.0.1:1"], 2, "http://127.0.0.1:1/api/v2/silences: "),
    ],
)
def test_what_cannot_be_done_is_one_line(
    lab: Lab, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, words: str
) -> None:
    assert main([*arguments[:2], *_places(lab), *arguments[2:]]) == code
    error = capsys.readouterr().err
    assert error.startswith("commeazy-maintenance: ")
    assert words in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments", [["start"], ["start", "a b"], ["stop", "a"], ["start", "a", "--haproxy", "ssh:-o"]]
)
def test_wrong_usage_is_one_line_and_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
