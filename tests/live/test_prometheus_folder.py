"""What an operator copies from prometheus/ is accepted by the programs that read it, and routes as it says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from alerts import scraping

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "prometheus"
ALERTMANAGER = FOLDER / "alertmanager.yml"
CONFIGURATIONS = sorted(FOLDER.glob("prometheus*.yml"))
SPECIFIED_INTERVALS = {"prosody": "30s", "push-gateway": "15s", "haproxy": "15s", "postgresql": "30s"}


def _run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)


def _config(name: str) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))
    return config


def test_what_is_generated_from_the_table_of_jobs_is_up_to_date() -> None:
    written = scraping.files()
    assert {path.name for path in CONFIGURATIONS} == {variant.file for variant in scraping.VARIANTS}
    assert {f"targets/{path.name}" for path in (FOLDER / "targets").iterdir()} < set(written)
    for name, text in written.items():
        assert (FOLDER / name).read_text() == text, f"{name} is not what alerts/jobs.py says; run make generate"


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.name)
def test_promtool_accepts_a_configuration_installed_as_prometheus_yml_with_its_rules_and_targets(
    path: Path, tmp_path: Path
) -> None:
    """Promtool says SUCCESS of a configuration whose paths lead nowhere, so what it found is counted too."""
    shutil.copytree(FOLDER / "rules", tmp_path / "rules")
    shutil.copytree(FOLDER / "targets", tmp_path / "targets")
    installed = Path(shutil.copy(path, tmp_path / "prometheus.yml"))
    done = _run("promtool", "check", "config", "--lint=all", "--lint-fatal", installed)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout + done.stderr
    config = _config(path.name)
    rule_files = 0 if "shard" in path.name else len(list((FOLDER / "rules").glob("*.yaml")))
    assert ("rule_files" in config) == bool(rule_files)
    assert len(re.findall(r"SUCCESS: \d+ rules found", done.stdout)) == rule_files
    for job in config["scrape_configs"]:
        (files,) = job["file_sd_configs"]
        assert [(tmp_path / file).exists() for file in files["files"]] == [True], job["job_name"]


def test_the_specified_jobs_are_scraped_as_often_as_specified() -> None:
    jobs = {job["job_name"]: job for job in _config("prometheus.yml")["scrape_configs"]}
    assert {name: jobs[name]["scrape_interval"] for name in SPECIFIED_INTERVALS} == SPECIFIED_INTERVALS
    assert {"coturn", "certificates", "prometheus", "alertmanager"} <= set(jobs)


def test_every_job_has_its_targets_and_three_nodes_where_specified() -> None:
    for job in _config("prometheus.yml")["scrape_configs"]:
        name = job["job_name"]
        groups = yaml.safe_load((FOLDER / "targets" / f"{name}.yml").read_text())
        hosts = [target.rsplit(":", 1)[0] for group in groups for target in group["targets"]]
        if name in ("prosody", "push-gateway"):
            assert hosts == ["prosody1", "prosody2", "prosody3"]
        assert hosts


def test_the_second_of_a_pair_differs_by_its_replica_label_alone() -> None:
    first, second = _config("prometheus.yml"), _config("prometheus-b.yml")
    assert first["global"]["external_labels"].pop("prometheus_replica") == "a"
    assert second["global"]["external_labels"].pop("prometheus_replica") == "b"
    assert first == second


def test_no_series_and_no_rule_has_an_external_label_of_its_own() -> None:
    """What alerts and remote storage drop, or read as the server's name, must not be the name of something else."""
    rules = "".join(path.read_text() for path in (FOLDER / "rules").glob("*.yaml"))
    answers = "".join(path.read_text() for path in (ROOT / "tests/recorded").glob("*.prom"))
    names = {*re.findall(r"\w+", rules), *re.findall(r'(\w+)="', answers)}
    assert names > {"replica", "mountpoint"}
    assert not names & set(_config("prometheus.yml")["global"]["external_labels"])


@pytest.mark.parametrize("name", ["mimir", "victoriametrics"])
def test_remote_storage_adds_remote_write_and_nothing_else(name: str) -> None:
    config = _config(f"prometheus-{name}.yml")
    assert config.pop("remote_write")
    assert config == _config("prometheus.yml")


def test_the_shards_keep_every_node_once_and_evaluate_no_rules() -> None:
    base = _config("prometheus.yml")
    for number in (0, 1):
        shard = _config(f"prometheus-shard-{number}.yml")
        assert "rule_files" not in shard
        assert [job["job_name"] for job in shard["scrape_configs"]] == [
            job["job_name"] for job in base["scrape_configs"]
        ]
        for job in shard["scrape_configs"]:
            modulus, keep = job["relabel_configs"][-2:]
            assert modulus == {
                "source_labels": ["instance"], "modulus": 2, "target_label": "__tmp_shard", "action": "hashmod"
            }  # fmt: skip
            assert keep == {"source_labels": ["__tmp_shard"], "regex": str(number), "action": "keep"}


def test_amtool_accepts_the_alertmanager_configuration() -> None:
    done = _run("amtool", "check-config", ALERTMANAGER)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_secret_stands_in_a_configuration() -> None:
    for path in FOLDER.rglob("*.yml"):
        for line in path.read_text().splitlines():
            key = line.split(":")[0].strip(" -")
            assert key not in {"password", "credentials", "routing_key", "api_key", "bearer_token"}, f"{path}: {line}"


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        ("alertname=PushGatewayDown severity=critical job=push-gateway instance=prosody1", "page"),
        ("alertname=HaproxyBackendNodesLow severity=critical job=haproxy instance=haproxy1", "page"),
        ("alertname=ProsodySessionsHigh severity=warning job=prosody instance=prosody1", "ticket"),
        ("alertname=MetricAbsent severity=warning job=prosody instance=prosody1 metric=prosody_up", "ticket"),
        ("alertname=Watchdog severity=none", "deadmansswitch"),
        ("alertname=SomethingNew", "ticket"),
    ],
)
def test_an_alert_goes_to_its_receiver(labels: str, receiver: str) -> None:
    command = ("amtool", "config", "routes", "test", f"--config.file={ALERTMANAGER}", f"--verify.receivers={receiver}")
    done = _run(*command, *labels.split())
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_of_the_catalogue_has_a_route_of_its_severity() -> None:
    receivers = {"critical": "page", "warning": "ticket", "none": "deadmansswitch"}
    groups = yaml.safe_load((FOLDER / "rules" / "alerts.yaml").read_text())["groups"]
    seen = {(rule["alert"], rule["labels"]["severity"]) for group in groups for rule in group["rules"]}
    for alert, severity in sorted(seen):
        command = ("amtool", "config", "routes", "test", f"--config.file={ALERTMANAGER}")
        done = _run(*command, f"alertname={alert}", f"severity={severity}")
        # Alertmanager cannot know which receiver fails: it notifies both.
        others = {"AlertmanagerNotificationsFailing": "ticket,page", "KnownCause": "nobody"}
        assert done.stdout.strip() == others.get(alert, receivers[severity]), alert


def test_haproxy_accepts_the_snippet(tmp_path: Path) -> None:
    config = tmp_path / "haproxy.cfg"
    defaults = "defaults\n    mode http\n    timeout connect 5s\n    timeout client 5s\n    timeout server 5s\n"
    config.write_text(defaults + (FOLDER / "snippets" / "haproxy.cfg").read_text())
    done = _run("haproxy", "-c", "-f", config)
    assert done.returncode == 0, done.stderr


def test_lua_accepts_the_prosody_snippet() -> None:
    luac = next(filter(None, map(shutil.which, ("luac5.4", "luac", "luac5.1"))), None)
    command = [luac, "-p"] if luac else ["lua5.4", "-e", "assert(loadfile(arg[1]))", "-"]
    done = _run(*command, FOLDER / "snippets" / "prosody.cfg.lua")
    assert done.returncode == 0, done.stderr


def test_every_annotation_that_a_page_shows_exists() -> None:
    text = json.dumps(yaml.safe_load(ALERTMANAGER.read_text())["receivers"])
    assert ".Annotations.summary" in text
    assert ".Annotations.runbook_url" in text
