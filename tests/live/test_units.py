"""The systemd units, read by systemd itself. Only the programs are replaced, because those are installed later."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from lab.running.workspace import ROOT

if TYPE_CHECKING:
    from pathlib import Path

UNITS = sorted((ROOT / "deploy/systemd").glob("*.service"))
INSTALLED = "/opt/commeazy/monitoring/bin/"
OURS = [unit for unit in UNITS if f"={INSTALLED}" in unit.read_text() or f" {INSTALLED}" in unit.read_text()]
SERVICES = [unit for unit in OURS if "Type=oneshot" not in unit.read_text()]  # a timer starts the others again


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_accepts_the_unit(unit: Path, tmp_path: Path) -> None:
    copy = tmp_path / unit.name
    copy.write_text(re.sub(f"(?:{INSTALLED}|/usr/local/sbin/)[a-z-]+", "/usr/bin/true", unit.read_text()))
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(copy)], capture_output=True, text=True, check=False
    )
    assert (verified.returncode, verified.stderr) == (0, "")


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_finds_little_to_expose(unit: Path) -> None:
    """Hardened: systemd's own scale goes from 0 (nothing is exposed) to 10."""
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=25", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert judged.returncode == 0, judged.stdout


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_it_is_restarted_after_a_second_and_kept_below_200_megabytes(unit: Path) -> None:
    lines = unit.read_text().splitlines()
    assert {"Restart=always", "RestartSec=1", "MemoryMax=200M"} <= set(lines)


def test_the_coturn_exporter_may_ask_the_kernel_for_relay_ports() -> None:
    unit = (ROOT / "deploy/systemd/coturn-exporter.service").read_text()
    families = re.search(r"^RestrictAddressFamilies=(.*)$", unit, re.MULTILINE)
    assert families
    assert "AF_NETLINK" in families[1].split()


def test_the_prosody_exporter_sees_neither_prosodys_password_of_the_database_nor_its_keys_and_logs() -> None:
    unit = (ROOT / "deploy/systemd/prosody-exporter.service").read_text()
    hidden = " ".join(re.findall(r"^InaccessiblePaths=(.*)$", unit, re.MULTILINE)).split()
    assert {"-/etc/prosody", "-/etc/letsencrypt", "-/etc/ssl/private", "-/var/log/prosody"} <= set(hidden)


def test_systemd_accepts_the_drop_in_that_hides_prosodys_data_and_lets_the_socket_be_seen(tmp_path: Path) -> None:
    [drop_in] = re.findall(r"^```ini\n(.*?)^```", (ROOT / "docs/prosody.md").read_text(), re.MULTILINE | re.DOTALL)
    folder = tmp_path / "prosody-exporter.service.d"
    folder.mkdir()
    for path, text in (
        (tmp_path / "prosody-exporter.service", (ROOT / "deploy/systemd/prosody-exporter.service").read_text()),
        (folder / "override.conf", drop_in),
    ):
        path.write_text(re.sub(f"(?:{INSTALLED}|/usr/local/sbin/)[a-z-]+", "/usr/bin/true", text))
    unit = tmp_path / "prosody-exporter.service"
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False
    )
    assert (verified.returncode, verified.stderr) == (0, "")
    [socket] = re.findall(r"--prosody.socket=(\S+)", drop_in)
    hidden = re.findall(r"^InaccessiblePaths=-?(\S+)$", drop_in, re.MULTILINE)
    assert hidden == ["/var/lib/prosody"]
    assert not socket.startswith(tuple(hidden))
