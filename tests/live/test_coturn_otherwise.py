"""The coturn exporter beside a coturn that is set up otherwise than the specification says, and as Debian allows."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from lab.servers.coturn import SECRET
from lab.servers.exporters import ExporterProcess
from lab.users.turn import Allocations
from tests.live.coturn_lab import CoturnLab, Page
from tests.live.test_coturn import CLI, SPECIFIED_SOURCES, TRANSPORTS, agree, settled


def probed(page: Page) -> bool:
    """Whether every probe succeeds."""
    kinds = [(probe, transport) for probe in ("stun", "turn") for transport in TRANSPORTS]
    return all(page.value("coturn_probe_success", probe=probe, transport=transport) == 1 for probe, transport in kinds)


def test_quotes_spaces_and_a_switch_that_is_off_are_read_as_coturn_reads_them() -> None:
    config = f'static-auth-secret = "{SECRET}"\ntotal-quota="77"\nno-tls=off\nno-udp off\nmin-port = 61000'
    with CoturnLab(config) as lab, Allocations(lab.coturn) as calls:
        calls.hold(2)
        page = lab.until(probed)
        assert page.active == agree(2, *SPECIFIED_SOURCES)
        assert page.value("coturn_quota", kind="limit") == 77
        assert page.value("coturn_relay_ports", state="capacity") == 65536 - 61000


def test_a_secret_switches_on_the_turn_rest_api_by_itself() -> None:
    with CoturnLab(exporter=False) as lab, Allocations(lab.coturn) as calls:
        lab.coturn.stop()
        original = lab.coturn.config_file.read_text()
        lab.coturn.config_file.write_text(original.replace("\nuse-auth-secret\n", "\n"))
        lab.coturn.prepare = lambda: None  # type: ignore[method-assign] # it would write the file again
        lab.coturn.start()
        calls.hold(1)
        lab.exporter.start()
        lab.until(probed)


def test_one_allocation_per_user_is_enough_for_the_probes() -> None:
    with CoturnLab("user-quota=1", probe_interval=2) as lab:
        lab.until(probed)


def test_with_ipv6_only_the_probe_asks_for_such_a_relay() -> None:
    with CoturnLab(exporter=False) as lab:
        lab.coturn.stop()
        original = lab.coturn.config_file.read_text()
        lab.coturn.config_file.write_text(
            original.replace("listening-ip=127.0.0.1", "listening-ip=::1").replace("relay-ip=127.0.0.1\n", "")
        )
        lab.coturn.prepare = lambda: None  # type: ignore[method-assign] # it would write the file again
        lab.coturn.is_ready = lambda: True  # type: ignore[method-assign] # the lab asks over IPv4
        lab.coturn.start()
        lab.exporter.start()
        assert lab.until(probed).active == agree(0, *SPECIFIED_SOURCES)


def test_a_client_with_the_probes_port_at_another_relay_address_counts() -> None:
    config = "relay-ip=127.0.0.1\nrelay-ip=127.0.0.2\nmin-port=61100\nmax-port=61109"
    with CoturnLab(config, probe_interval=0.2, exporter=False) as lab, Allocations(lab.coturn) as calls:
        calls.hold(8)
        lab.exporter.start()
        for _ in range(40):
            page = lab.until(settled)
            assert page.active == agree(8, *SPECIFIED_SOURCES)
        assert page.value("coturn_relay_ports", state="capacity") == 20


def test_while_no_probe_is_answered_the_allocations_are_still_there() -> None:
    with CoturnLab() as lab, Allocations(lab.coturn) as calls:
        calls.hold(3)
        original = lab.coturn.config_file.read_text()
        lab.coturn.config_file.write_text(original.replace("listening-ip=127.0.0.1", "listening-ip=127.0.0.3"))
        os.kill(lab.exporter.pid, signal.SIGHUP)
        page = lab.until(lambda page: page.value("coturn_up") == 0 and "log" in page.active)
        assert page.value("coturn_exporter_scrape_failures_total", reason="no_answer")
        assert page.active == agree(3, *SPECIFIED_SOURCES)


@pytest.mark.parametrize("in_chroot", [False, True])
def test_a_log_in_a_var_tmp_of_coturns_own_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, in_chroot: bool
) -> None:
    """Debian's unit has PrivateTmp=yes, and its coturn logs to /var/tmp when it may not elsewhere."""
    private = tmp_path / "turnserver"
    root = tmp_path / "root" if in_chroot else Path("/")
    root.mkdir(exist_ok=True)
    mounts = f"mount -t tmpfs none {root}/var/tmp && mount -t tmpfs -o ro none {root}/var/log"
    if in_chroot:
        mounts = f"mount --rbind / {root} && {mounts}"
    unshare = "unshare --mount" + (" --map-root-user" if os.geteuid() else "")
    if subprocess.run([*unshare.split(), "true"], check=False, capture_output=True).returncode:
        pytest.skip("a container that lets nobody mount cannot give coturn a /var/tmp of its own")
    private.write_text(f'#!/bin/sh\nexec {unshare} sh -c "{mounts} && exec chroot {root} turnserver $*"\n')
    private.chmod(0o755)
    monkeypatch.setenv("TURNSERVER", str(private))
    with CoturnLab("log-file=/nowhere/turn.log") as lab, Allocations(lab.coturn) as calls:
        calls.hold(2)
        page = lab.until(lambda page: page.value("coturn_allocations_total", event="created") == 2)
        assert page.active == agree(2, *SPECIFIED_SOURCES)
        assert page.value("coturn_log_in_configured_place") == 0


def test_a_restarted_exporter_finds_the_start_in_the_log_that_was_rotated_away() -> None:
    with CoturnLab("simple-log") as lab, Allocations(lab.coturn) as calls:
        log = lab.coturn.log_folder / "turn.log"
        calls.hold(3)
        log.rename(f"{log}.1")
        lab.coturn.reopen_log()
        calls.hold(5)
        lab.exporter.restart()
        page = lab.until(lambda page: page.value("coturn_allocations_total", event="created") == 5)
        assert page.active == agree(5, *SPECIFIED_SOURCES)


def test_the_probes_of_another_exporter_are_not_counted_either() -> None:
    with CoturnLab(CLI, probe_interval=0.2) as lab, Allocations(lab.coturn) as calls:
        calls.hold(3)
        other = ExporterProcess(lab, "coturn", "turn1", lab.exporter.flags)
        other.name = "other-exporter"
        other.start()
        seen = [lab.until(settled).active for _ in range(60)]
        # The other's five or so relays would be in nearly every number; one that opens between two sources is in few.
        assert seen.count(agree(3, "cli", *SPECIFIED_SOURCES)) > len(seen) / 2, seen
        other.kill()
