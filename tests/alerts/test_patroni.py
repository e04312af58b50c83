"""The snippets for Patroni: Prometheus takes the job and the rules, which read what a real Patroni 3.0.2 answered."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from lab.running.workspace import ROOT

SNIPPETS = ROOT / "prometheus/snippets"


def test_the_rules_read_only_what_patroni_answers() -> None:
    answered = (ROOT / "tests/recorded/patroni-3.0.2.prom").read_text()
    read = set(re.findall(r"patroni_\w+", str([rule["expr"] for rule in _rules()])))
    assert read
    assert all(re.search(rf"^{name}\{{", answered, re.MULTILINE) for name in read)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="there is no promtool here")
def test_prometheus_takes_the_job_and_the_rules_fire_when_they_should(tmp_path: Path) -> None:
    config = yaml.safe_load((ROOT / "prometheus/prometheus.yml").read_text())
    config["scrape_configs"] += yaml.safe_load((SNIPPETS / "patroni.yml").read_text())
    config["rule_files"] = [str(SNIPPETS / "patroni-rules.yaml")]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    for command in (
        ["check", "config", str(tmp_path / "prometheus.yml")],
        ["test", "rules", str(Path(__file__).with_name("patroni.yaml"))],
    ):
        done = subprocess.run(["promtool", *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def _rules() -> list[dict[str, str]]:
    (group,) = yaml.safe_load((SNIPPETS / "patroni-rules.yaml").read_text())["groups"]
    rules: list[dict[str, str]] = group["rules"]
    return rules
