"""docs/install.md agrees with the files it copies and with itself; `make try-install` runs it."""

from __future__ import annotations

import re
import tomllib

import pytest
import yaml

from lab.running.workspace import ROOT
from tests.install.guide import GUIDE, HOSTS, UNTRIED, Block, Mark, parts
from toolkit import __version__

TEXT = GUIDE.read_text(encoding="utf-8")
BLOCKS = [part for part in parts() if isinstance(part, Block)]
MARKS = [part for part in parts() if isinstance(part, Mark)]
COMMANDS = "".join(block.text for block in BLOCKS)


def test_every_block_says_for_which_hosts_it_is() -> None:
    assert len(BLOCKS) == TEXT.count("\n```") / 2
    for block in BLOCKS:
        assert block.language in ("bash", "yaml")
        assert set(block.hosts) <= set(HOSTS)
        assert bool(block.hosts) == (block.language == "bash"), block.line


def test_every_edit_is_one_that_the_trial_makes_and_every_host_is_tried() -> None:
    made = "".join((ROOT / "tests/install" / name).read_text() for name in ("editor.py", "operator.py"))
    for mark in MARKS:
        if mark.words[0] == "edit":
            assert f"def edit_{mark.words[1].replace('-', '_')}(" in made, mark
    assert {host for block in BLOCKS for host in block.hosts} == set(HOSTS)


@pytest.mark.parametrize("pattern", UNTRIED)
def test_a_line_that_is_not_tried_is_there(pattern: str) -> None:
    assert [line for line in COMMANDS.splitlines() if re.match(pattern, line)]


def test_only_apt_needs_the_network_of_the_machine() -> None:
    for block in BLOCKS:
        if "apt-get" in block.text:
            assert all(line.startswith("apt-get install ") for line in block.text.splitlines()), block.line


def test_every_file_that_is_copied_is_in_the_archive() -> None:
    named = set(re.findall(r"/opt/commeazy/files/([\w./{},-]+)", TEXT))
    assert len(named) > 10
    for name in named:
        braces = re.search(r"\{(.+)\}", name)
        for each in braces[1].split(",") if braces else [""]:
            path = re.sub(r"\{.+\}", each, name).rstrip("./")
            assert (ROOT / path).exists(), path
            assert path.split("/")[0] in {"deploy", "prometheus", "dashboards", "docs"}


def test_its_links_lead_somewhere() -> None:
    anchors = {
        re.sub(r"[^\w -]", "", title).lower().replace(" ", "-")
        for title in re.findall(r"^#+ (.+)$", TEXT, re.MULTILINE)
    }
    for target in re.findall(r"\]\(([^)]+)\)", TEXT):
        path, _, anchor = target.partition("#")
        assert (GUIDE.parent / path).exists() if path else anchor in anchors, target


def test_the_version_is_this_one() -> None:
    assert set(re.findall(r"^(?:version|old)=(.+)$", COMMANDS, re.MULTILINE)) == {__version__}


def test_the_firewall_closes_every_port_that_is_scraped_and_both_firewalls_the_same() -> None:
    rules = (ROOT / "deploy/nftables/commeazy-monitoring.nft").read_text()
    metrics, push = (
        set(re.findall(r"\d+", found)) for found in re.findall(r"define (?:metrics|push) = \{(.+)\}", rules)
    )
    script = (ROOT / "deploy/iptables/commeazy-monitoring.sh").read_text()
    ports = dict(re.findall(r"^(metrics|push)=(.+)$", script, re.MULTILINE))
    assert set(ports["metrics"].split(",")) == metrics
    assert set(ports["push"].split(",")) == push
    scraped = {
        target.rpartition(":")[2]
        for file in (ROOT / "prometheus/targets").glob("*.yml")
        for group in yaml.safe_load(file.read_text())
        for target in group["targets"]
    }
    assert scraped - {"9090", "9093"} <= metrics  # Prometheus and Alertmanager listen on loopback
    units = "".join(file.read_text() for file in (ROOT / "deploy/systemd").glob("*.service"))
    assert set(re.findall(r"METRICS_LISTEN_ADDRESS=:(\d+)", units)) <= metrics
    assert set(re.findall(r" PORT=(\d+)", units)) <= push


def test_the_guide_never_enables_debians_nftables_service_which_flushes_the_rules_of_the_host() -> None:
    assert not re.search(r"systemctl .*\bnftables\b", COMMANDS)
    assert "nftables.conf" not in COMMANDS


def test_the_hosts_get_the_versions_that_were_tested() -> None:
    def pins(file: str) -> set[str]:
        return set(re.findall(r"^([\w.-]+==\S+)", (ROOT / file).read_text(), re.MULTILINE))

    hosts = pins("deploy/requirements.lock")
    assert len(hosts) > 10
    assert hosts <= pins("requirements.lock")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for wanted in (*project["dependencies"], *extras["gateway"], *extras["certificates"]):
        name = re.split(r"[\[=<>]", wanted)[0].lower()
        assert any(pin.startswith(f"{name}==") for pin in hosts), name
