"""The command as an operator types it, against small real servers: its lines, its exit codes, and its secrets."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from alerts.catalogue import KNOBS
from alerts.objectives import load
from check.__main__ import main
from check.examination import uids
from tests.check.answers import prometheus, promise_rules
from tests.check.servers import Api, FakeGrafana, always, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.check.servers import Respond

PAGES = [
    "coturn",
    "haproxy",
    "hosts",
    "postgresql",
    "presence-health",
    "promises",
    "prosody-overview",
    "push-gateway-health",
    "websocket-health",
]


@pytest.fixture
def url() -> Iterator[str]:
    """Return the address of a Prometheus that watches a whole service."""
    with serving(Api(prometheus())) as address:
        yield address


def _run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[str], str]:
    code = main(arguments)
    said = capsys.readouterr()
    return code, said.out.splitlines(), said.err


def test_all_well_is_ok_in_every_line_and_0(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, lines, errors = _run(capsys, "--prometheus", url)
    assert (code, errors) == (0, "")
    assert [line for line in lines if not line.startswith("ok    ")] == [
        "-     dashboards: not asked, no --grafana given"
    ]


def test_promises_of_the_sites_own_are_what_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = tmp_path / "my.yaml"
    mine.write_text(
        "login: {objective: 99.5, window: 90d, reason: Few people log in.}\nturn: {severity: none, reason: No calls.}\n"
    )
    answers = prometheus()
    (group,) = answers["/api/v1/rules"]["data"]["groups"]
    (first, *_) = shipped = promise_rules(load(KNOBS))
    at = group["rules"].index(first)
    group["rules"][at : at + len(shipped)] = promise_rules(load(KNOBS, mine).measured())
    answers["/api/v1/status/runtimeinfo"]["data"]["storageRetention"] = "1y"
    with serving(Api(answers)) as url:
        assert _run(capsys, "--prometheus", url)[0] == 1
        code, lines, errors = _run(capsys, "--prometheus", url, "--objectives", str(mine))
        assert (code, errors) == (0, "")
        assert "ok    retention: 1y, and promises look back 90 days" in lines
        mine.write_text("login: {objective: 99.5}\n")
        assert _run(capsys, "--prometheus", url, "--objectives", str(mine)) == (
            2,
            [],
            f"commeazy-check: {mine}:1: login: reason must be given: say why the number is what it is\n",
        )


def _job_missing(answers: dict[str, Any]) -> None:
    answers["/api/v1/targets"]["data"]["activeTargets"].pop()


def _rule_missing(answers: dict[str, Any]) -> None:
    answers["/api/v1/rules"]["data"]["groups"][0]["rules"].pop()


def _no_alertmanager(answers: dict[str, Any]) -> None:
    answers["/api/v1/alertmanagers"]["data"]["activeAlertmanagers"].clear()


def _metric_missing(answers: dict[str, Any]) -> None:
    next(each for key, each in answers.items() if "count by" in key)["data"]["result"].pop()


@pytest.mark.parametrize("spoil", [_job_missing, _rule_missing, _no_alertmanager, _metric_missing])
def test_one_thing_wrong_is_one_line_and_1(
    spoil: Callable[[dict[str, Any]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    answers = prometheus()
    spoil(answers)
    with serving(Api(answers)) as url:
        code, lines, errors = _run(capsys, "--prometheus", url)
    assert (code, errors) == (1, "")
    assert len([line for line in lines if line.startswith("FAIL  ")]) == 1


def test_grafana_is_asked_for_every_dashboard(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert uids() == PAGES
    grafana = FakeGrafana(dict.fromkeys(PAGES, True))
    with serving(grafana) as there:
        asked = ("--prometheus", url, "--grafana", there)
        password = tmp_path / "password"
        password.write_text(f"{grafana.USER}:{grafana.PASSWORD}\n")
        code, lines, _ = _run(capsys, *asked, "--grafana-auth", str(password))
        assert code == 0
        assert f"ok    dashboards: 9 of 9 provisioned: {', '.join(PAGES)}" in lines
        monkeypatch.setenv("GRAFANA_AUTH", grafana.TOKEN)
        assert _run(capsys, *asked)[0] == 0
        grafana.dashboards["coturn"] = False
        del grafana.dashboards["haproxy"]
        code, lines, _ = _run(capsys, *asked)
        assert code == 1
        assert [line.split(";")[0] for line in lines if "dashboard" in line] == [
            "FAIL  dashboard coturn: made by hand, so no update will reach it",
            "FAIL  dashboard haproxy: not in Grafana",
        ]


def test_every_panel_is_asked_through_grafana(
    url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    grafana = FakeGrafana(dict.fromkeys(uids(), True))
    monkeypatch.setenv("GRAFANA_AUTH", grafana.TOKEN)
    with serving(grafana) as there:
        asked = ("--prometheus", url, "--grafana", there)
        code, lines, _ = _run(capsys, *asked)
        assert code == 0
        assert [line for line in lines if re.fullmatch(r"ok    panels: \d{3} have data in Grafana", line)]
        grafana.queries = {
            "pg_locks": "a graph of nothing",  # may be empty: there is no lock to wait for
            "prosody_lua_heap_bytes": "a graph with gaps",
            "coturn_relay_ports": "refused",
        }
        code, lines, _ = _run(capsys, *asked)
    assert code == 1
    failures = [line for line in lines if line.startswith("FAIL")]
    assert any(line.startswith("FAIL  panel Prosody Overview: ") and "NO DATA in Grafana" in line for line in failures)
    assert any(line.startswith("FAIL  panel Coturn: ") and "found duplicate series" in line for line in failures)
    assert not any("PostgreSQL" in line for line in failures)


@pytest.mark.parametrize(
    ("respond", "why"),
    [
        (FakeGrafana({}), "401, the credentials are missing, wrong, or may not ask this"),
        (always(200, b"<html>"), "answers with an HTML page"),
        (always(200, b"[]"), "what it answers is not Grafana's answer"),
        (always(404, b"404 page not found"), "404: is this the address of another server?"),
    ],
)
def test_a_grafana_that_cannot_be_asked_is_one_line_among_the_others_and_1(
    respond: Respond, why: str, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(respond) as grafana:
        code, lines, errors = _run(capsys, "--prometheus", url, "--grafana", grafana)
    (failure,) = (line for line in lines if line.startswith("FAIL"))
    assert (code, errors) == (1, "")
    assert failure.startswith("FAIL  dashboards: Grafana cannot be asked: ")
    assert why in failure


@pytest.mark.parametrize(
    ("respond", "why"),
    [
        (always(200, b"<html>"), "answers with an HTML page"),
        (always(200, b"{}"), "is not Prometheus' answer"),
        (always(200, b"7"), "is not Prometheus' answer"),
        (always(200, b'{"data": {"activeTargets": [{"labels": null}]}}'), "is not Prometheus' answer"),
        (always(401, b"Unauthorized"), "401, the credentials are missing"),
        (always(404, b"404 page not found"), "404: is this the address of another server?"),
    ],
)
def test_a_prometheus_that_cannot_be_asked_is_one_line_and_2(
    respond: Respond, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(respond) as url:
        code, lines, errors = _run(capsys, "--prometheus", url)
    assert (code, lines) == (2, [])
    assert len(errors.splitlines()) == 1
    assert errors.startswith(f"commeazy-check: {url}")
    assert why in errors


@pytest.mark.parametrize(
    "arguments",
    [
        ["--prometheus", "localhost:9090"],
        ["--prometheus", "ftp://localhost"],
        ["--prometheus", "http://user:secret-word@localhost:9090"],
        ["--prometheus", "http://localhost:9090/?a=b"],
        ["--prometheus", "http://local host"],
        ["--prometheus", "http://localhost:99999"],
        ["--grafana", ""],
        ["--timeout", "0"],
        ["--timeout", "nan"],
        ["--nonsense"],
        ["argument"],
    ],
)
def test_wrong_usage_is_one_line_and_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    said = capsys.readouterr()
    assert (ended.value.code, said.out) == (2, "")
    assert len(said.err.splitlines()) == 1
    assert said.err.startswith("commeazy-check: ")
    assert "secret-word" not in said.err


@pytest.mark.parametrize(
    ("content", "why"),
    [(None, "cannot be read"), (b"\xff\xfe", "is no text"), (b"two\nlines", "one line"), (b"tok en", "printable")],
)
def test_credentials_that_cannot_be_used_are_one_line_and_2_and_not_shown(
    content: bytes | None, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "credentials"
    if content is not None:
        file.write_bytes(content)
    code, lines, errors = _run(capsys, "--prometheus-auth", str(file))
    assert (code, lines) == (2, [])
    assert errors.startswith(f"commeazy-check: --prometheus-auth {file}: ")
    assert why in errors
    assert "tok en" not in errors


def test_credentials_go_to_the_server_they_are_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PROMETHEUS_AUTH", "token-of-prometheus")
    monkeypatch.setenv("GRAFANA_AUTH", "token-of-grafana")
    api, grafana = Api(prometheus()), Api({})
    with serving(api) as url, serving(grafana) as there:
        _run(capsys, "--prometheus", url, "--grafana", there)
    assert {header for _, header in api.asked} == {"Bearer token-of-prometheus"}
    assert {header for _, header in grafana.asked} == {"Bearer token-of-grafana"}


def test_every_question_is_asked_once() -> None:
    api = Api(prometheus())
    with serving(api) as url:
        assert main(["--prometheus", url]) == 0
    assert sorted(key for key, _ in api.asked) == sorted(api.answers)
