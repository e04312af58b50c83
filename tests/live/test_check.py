"""The command against the lab's real servers: all well, then each thing that an operator breaks."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from typing import TYPE_CHECKING

import pytest

from check.examination import uids
from lab.running.workspace import ROOT
from lab.stack import Lab
from tests.check.servers import FakeGrafana, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PATIENCE = 240.0


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Run everything but users; each test puts right what it breaks."""
    with Lab() as stack:
        stack.prosody.config = stack.push_gateway.bridge
        for server in (
            *(stack.postgresql, stack.replica, *stack.postgres_exporters),
            *(stack.providers, stack.push_gateway, stack.prosody, stack.haproxy, stack.coturn),
            *(stack.prosody_exporter, stack.coturn_exporter, stack.certificate_exporter, stack.synthetic),
            *(*stack.hosts, stack.receivers, stack.alertmanager, stack.prometheus),
        ):
            server.start()
        yield stack


def _check(lab: Lab, *arguments: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "check", "--prometheus", lab.prometheus.url, *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    assert done.stderr == ""
    return done.returncode, done.stdout


def _until(lab: Lab, right: Callable[[int, list[str]], bool]) -> list[str]:
    """Run the command until it says what it should; return the lines that say FAIL."""
    deadline = time.monotonic() + PATIENCE
    while True:
        code, text = _check(lab)
        failures = [line.removeprefix("FAIL").strip() for line in text.splitlines() if line.startswith("FAIL")]
        assert (code == 1) == bool(failures)
        if right(code, failures):
            return failures
        assert time.monotonic() < deadline, text


def _well(lab: Lab) -> None:
    _until(lab, lambda code, _: code == 0)


def _reload(lab: Lab) -> None:
    urllib.request.urlopen(urllib.request.Request(f"{lab.prometheus.url}/-/reload", method="POST"), timeout=10).close()


def test_a_whole_service_is_ok_in_every_line(lab: Lab, tmp_path: Path) -> None:
    _well(lab)
    token = tmp_path / "token"
    token.write_text(FakeGrafana.TOKEN)
    with serving(FakeGrafana(dict.fromkeys(uids(), True))) as grafana:
        code, text = _check(lab, "--grafana", grafana, "--grafana-auth", str(token))
    assert code == 0
    assert all(line.startswith("ok    ") for line in text.splitlines()), text


def test_an_exporter_that_is_killed_is_a_target_that_is_down(lab: Lab) -> None:
    lab.coturn_exporter.kill()
    (failure,) = _until(lab, lambda _, failures: bool(failures))
    assert failure.startswith("target coturn coturn1 is down: ")
    lab.coturn_exporter.start()
    _well(lab)


def test_a_server_that_is_killed_is_named_by_its_exporter(lab: Lab) -> None:
    lab.coturn.kill()
    told = ["metrics of coturn: coturn_up is 0 on coturn1: its server does not answer"]
    _until(lab, lambda _, failures: failures == told)
    lab.coturn.start()
    _well(lab)


@pytest.mark.parametrize("name", ["alerts.yaml", "recording.yaml"])
def test_a_rule_file_that_is_removed_is_missed(lab: Lab, name: str) -> None:
    file = lab.prometheus.directory / "rules" / name
    text = file.read_text()
    file.unlink()
    _reload(lab)
    failures = _until(lab, lambda _, failures: any(" not loaded: " in line for line in failures))
    if name == "alerts.yaml":
        assert "PushGatewayDown" in failures[0]
        assert any(line.startswith("Watchdog: does not fire") for line in failures)
    else:
        assert failures[0].startswith("recording rules not loaded: ")
        failures = _until(lab, lambda _, failures: any("without push_gateway_up" in line for line in failures))
    file.write_text(text)
    _reload(lab)
    _well(lab)


def test_a_metric_that_is_gone_is_named_with_what_it_needs(lab: Lab) -> None:
    flags = lab.prosody_exporter.flags
    lab.prosody_exporter.flags = lambda: [*flags(), "--prosody.websocket-url="]
    lab.prosody_exporter.restart()
    told = (
        "metrics of prosody: prosody1 without prosody_connection_errors_total, prosody_websocket_ping_seconds, "
        "prosody_websocket_login_mechanisms; there only with the exporter's WebSocket probe (--prosody.websocket-url)"
    )
    _until(lab, lambda _, failures: failures == [told])
    lab.prosody_exporter.flags = flags
    lab.prosody_exporter.restart()
    _well(lab)


def test_no_alertmanager_is_missed(lab: Lab) -> None:
    file = lab.prometheus.directory / "targets" / "alertmanager.yml"
    text = file.read_text()
    file.write_text("[]\n")
    # Prometheus reads the file twice, to notify and to scrape, not at the same moment.
    _until(
        lab,
        lambda _, failures: (
            any("none to send" in line for line in failures)
            and any(line.startswith("targets of alertmanager: there are none") for line in failures)
        ),
    )
    file.write_text(text)
    _well(lab)


def test_a_prometheus_that_is_not_there_is_2() -> None:
    command = [sys.executable, "-m", "check", "--prometheus", "http://127.0.0.1:1"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("commeazy-check: http://127.0.0.1:1/api/v1/targets: ")
    assert len(done.stderr.splitlines()) == 1


# The last one: its failure stays in the answers for five minutes.
def test_a_rule_that_cannot_be_evaluated_is_named_with_prometheus_words(lab: Lab) -> None:
    file = lab.prometheus.directory / "rules" / "recording.yaml"
    text = file.read_text()
    file.write_text(text.replace('up{job="push-gateway"}', 'label_replace(up, "instance", "a", "", "")'))
    _reload(lab)
    failures = _until(lab, lambda _, failures: any("push_gateway_up fails: " in line for line in failures))
    assert failures[0].startswith("recording rules: push_gateway_up fails: ")
