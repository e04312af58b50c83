"""The coturn exporter beside a coturn with the settings that people really have; each has broken a number before."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from exporters.coturn.config import load
from exporters.coturn.options import comment, in_file
from lab.running.workspace import ROOT
from lab.users.turn import Allocations, TurnClient
from tests.live.coturn_lab import CoturnLab, Page
from tests.live.test_coturn import CLI, SPECIFIED_SOURCES, agree, settled
from toolkit import stun
from toolkit.stun import Attribute, Method

if TYPE_CHECKING:
    from collections.abc import Iterator

ALL = {("stun", "udp"), ("stun", "tcp"), ("stun", "tls"), ("turn", "udp"), ("turn", "tcp"), ("turn", "tls")}
MULTIPLEXES = (4, 13)
SECRET_OPTIONS = {"use-auth-secret", "static-auth-secret"}
RELOAD = next(
    line.partition("=")[2]
    for line in (ROOT / "deploy/systemd/coturn-exporter.service").read_text().splitlines()
    if line.startswith("ExecReload=")
)


def reload(lab: CoturnLab) -> None:
    """Reload the exporter as systemd does by our unit."""
    subprocess.run(shlex.split(RELOAD.replace("$MAINPID", str(lab.exporter.pid))), check=True)


def probed(page: Page) -> dict[tuple[str, str], float]:
    """Success by probe and transport."""
    return {
        (sample.labels["probe"], sample.labels["transport"]): sample.value
        for sample in page.samples
        if sample.name == "coturn_probe_success"
    }


@pytest.fixture(scope="module")
def shared() -> Iterator[CoturnLab]:
    with CoturnLab(probe_interval=0.5) as lab:
        yield lab


@pytest.fixture
def lab(shared: CoturnLab) -> Iterator[CoturnLab]:
    """One lab for all; each test sets up its coturn and gets the exporter's attention."""
    yield shared
    shared.coturn.config, shared.coturn.without, shared.coturn.arguments = "", set(), []


def started(lab: CoturnLab, config: str = "", *arguments: str, without: set[str] = frozenset()) -> None:  # type: ignore[assignment] # a frozenset is enough
    """Start coturn with other settings than before, as an operator does: then the exporter is reloaded."""
    lab.coturn.config, lab.coturn.without, lab.coturn.arguments = config, set(without), list(arguments)
    lab.coturn.restart()
    reload(lab)


def test_arguments_on_the_command_line_win_as_they_do_in_coturn(lab: CoturnLab) -> None:
    elsewhere = lab.ports.reserve()
    original, lab.coturn.port = lab.coturn.port, elsewhere  # where the lab's clients go
    try:
        lab.coturn.config = f"listening-port={original}"
        lab.coturn.without, lab.coturn.arguments = {"verbose"}, ["-v", "-p", str(elsewhere)]
        lab.coturn.restart()  # no reload: the exporter sees by itself that the arguments are others
        with Allocations(lab.coturn) as calls:
            calls.hold(4)
            page = lab.until(lambda page: page.value("coturn_allocations_total", event="created") == 4)
            assert page.value("coturn_up") == 1
            assert page.active == agree(4, *SPECIFIED_SOURCES)
            assert set(lab.until(settled).by("coturn_probe_success", "transport").values()) == {2}
    finally:
        lab.coturn.port = original


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("no-stun", {key for key in ALL if key[0] == "turn"}),
        ("stun-only", {key for key in ALL if key[0] == "stun"}),
        ("secure-stun", ALL),
        ("no-udp-relay", ALL - {("turn", "udp")}),
        ("alternate-server=127.0.0.1:9", ALL),
        ("rest-api-separator=-", ALL),
    ],
)
def test_what_coturn_answers_is_up_and_what_it_is_set_not_to_answer_is_not_probed(
    lab: CoturnLab, config: str, expected: set[tuple[str, str]]
) -> None:
    started(lab, config)
    page = lab.until(lambda page: page.value("coturn_up") == 1 and probed(page) == dict.fromkeys(expected, 1))
    assert page.value("coturn_exporter_config_last_reload_successful") == 1


def test_relaying_switched_off_without_a_reload_of_the_exporter_fails_the_turn_probe_alone(lab: CoturnLab) -> None:
    started(lab)
    lab.until(lambda page: probed(page) == dict.fromkeys(ALL, 1))
    lab.coturn.config = "stun-only"
    lab.coturn.restart()
    page = lab.until(lambda page: probed(page) == {key: float(key[0] == "stun") for key in ALL})
    assert page.value("coturn_up") == 1
    assert page.value("coturn_probe_failures_total", probe="turn", transport="udp", reason="timeout")


def test_without_authentication_the_probe_is_no_client_and_its_requests_no_bindings(lab: CoturnLab) -> None:
    lab.coturn.config, lab.coturn.without = "no-auth\nlog-binding", SECRET_OPTIONS
    lab.coturn.restart()
    # Until the exporter reads the settings again, it marks its probes by the secret that is gone.
    lab.until(lambda page: probed(page) == dict.fromkeys(ALL, 1))
    reload(lab)
    with TurnClient(lab.coturn) as one, TurnClient(lab.coturn, "tcp") as other:
        wanted = [(Attribute.REQUESTED_TRANSPORT, stun.UDP_RELAY)]
        assert one._ask(Method.ALLOCATE, wanted).success
        assert other._ask(Method.ALLOCATE, wanted).success
        lab.until(lambda page: page.value("coturn_allocations_total", event="created") == 2)
        first = lab.scrape().value("coturn_stun_bindings_total") or 0
        one.bind()
        time.sleep(1.5)  # three rounds of the probe
        page = lab.scrape()
        assert page.active == agree(2, *SPECIFIED_SOURCES)
        assert page.value("coturn_allocations_total", event="created") == 2
        assert (page.value("coturn_stun_bindings_total") or 0) - first == 1
    lab.until(lambda page: probed(page) == dict.fromkeys(ALL, 1))


@pytest.mark.parametrize("way", ["relative path", "no file"])
def test_a_coturn_is_found_however_it_was_started_and_is_stopped_when_frozen(
    lab: CoturnLab, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    started(lab)
    words = [f"--{line}" for line in lab.coturn.config_file.read_text().splitlines() if line and line[0] != "#"]
    if way == "no file":
        command = ["turnserver", "-n", *words]
    else:
        command = ["turnserver", "-c", os.path.relpath(lab.coturn.config_file, ROOT)]
    command[0] = lab.coturn.command()[0]
    monkeypatch.setattr(lab.coturn, "command", lambda: command)
    lab.coturn.restart()
    reload(lab)
    with Allocations(lab.coturn) as calls:
        calls.hold(2)
        page = lab.until(lambda page: page.value("coturn_allocations_total", event="created") == 2)
        assert page.active == agree(2, *SPECIFIED_SOURCES)
        lab.coturn.freeze()
        try:
            page = lab.until(lambda page: page.value("coturn_up") == 0)
            assert page.value("coturn_exporter_scrape_failures_total", reason="stopped")
        finally:
            lab.coturn.thaw()
    monkeypatch.undo()


def test_relays_that_share_a_socket_are_counted_by_the_log_only(lab: CoturnLab) -> None:
    started(lab, f"multiplex-peer\nmultiplex-peer-port={lab.ports.reserve()}\n{CLI}")
    with Allocations(lab.coturn) as calls:
        calls.hold(3)
        page = lab.until(lambda page: page.active == agree(3, "cli", "log"))
        assert page.value("coturn_allocations_total", event="created") == 3
        assert page.by("coturn_relay_ports", "state") == {}
        if lab.coturn.version >= MULTIPLEXES:
            started(lab)
            # without the option in its file the exporter counts sockets again
            assert lab.until(lambda page: "relay_ports" in page.active)


def test_a_tcp_relay_is_a_relay(lab: CoturnLab) -> None:
    started(lab, CLI)
    with TurnClient(lab.coturn, "tcp") as client:
        wanted = [(Attribute.REQUESTED_TRANSPORT, stun.TCP_RELAY)]
        assert client.allocate(wanted).success
        page = lab.until(lambda page: page.value("coturn_allocations_total", event="created") == 1)
        assert page.active == agree(1, "cli", *SPECIFIED_SOURCES)


def test_ports_coturn_listens_on_are_no_relays_and_found_addresses_are_counted(lab: CoturnLab) -> None:
    port = lab.coturn.port
    started(
        lab,
        f"min-port={port}\nmax-port={port + 99}\nlistening-ip=127.0.0.2\nrfc5780",
        without={"min-port", "max-port"},
    )
    page = lab.until(settled)
    assert page.active == agree(0, *SPECIFIED_SOURCES)
    assert page.value("coturn_relay_ports", state="used") == 0
    started(lab, without={"listening-ip", "relay-ip", "log-file"})
    log = lab.coturn.log.read_text()
    discovered = int(log.rpartition(" relay addresses discovered")[0].rpartition("Total: ")[2])
    page = lab.until(settled)
    assert page.value("coturn_relay_ports", state="capacity") == discovered * 16384
    for stray in strays(lab):
        stray.unlink()


def strays(lab: CoturnLab) -> list[Path]:
    """Logs that coturn put where it likes."""
    found = load(lab.coturn.config_file)
    assert found.log
    assert found.log.base is None
    folders = ("/var/log/turnserver", "/var/log", "/var/tmp")
    return [path for folder in folders for path in Path(folder).glob(f"turn_{lab.coturn.pid}_*.log")]


@pytest.mark.parametrize("kind", ["/dev/stdout", "a FIFO"])
def test_a_log_that_is_no_regular_file_is_not_read_and_stops_nothing(lab: CoturnLab, kind: str) -> None:
    place = kind if kind.startswith("/") else f"{lab.directory}/fifo"
    if kind == "a FIFO":
        os.mkfifo(place)
        reader = os.open(place, os.O_RDONLY | os.O_NONBLOCK)  # else coturn would wait for one
    started(lab, f"log-file={place}\nsimple-log")
    with Allocations(lab.coturn) as calls:
        calls.hold(2)
        page = lab.until(lambda page: page.active == agree(2, "relay_ports"))
        assert "coturn_allocations_total" not in page.names
        assert page.value("coturn_exporter_source_up", source="log") == (None if kind == "/dev/stdout" else 0)
    if kind == "a FIFO":
        os.close(reader)


def test_what_a_stranger_makes_coturn_log_breaks_nothing(lab: CoturnLab) -> None:
    started(lab)
    digits = b"9" * 60
    forged = b"\n1: : session 000000000000000001: usage: realm=<>, username=<>, rp=%b, rb=%b, sp=1, sb=1" % (
        digits,
        digits,
    )
    for text in (b"https://a" + forged[:100], b"https://b\nVersion Coturn-" + digits, b"https://\xff\0c"):
        with TurnClient(lab.coturn) as stranger:
            stranger._ask(Method.ALLOCATE, [(Attribute.ORIGIN, text), (Attribute.REQUESTED_TRANSPORT, stun.UDP_RELAY)])
    lab.exporter.restart()
    page = lab.until(settled)
    assert page.value("coturn_up") == 1
    assert all(abs(s.value) < 1e15 for s in page.samples if s.name.startswith("coturn_traffic"))
    assert page.by("coturn_exporter_scrape_failures_total", "reason") == {}


def test_a_wrong_file_leaves_the_settings_in_force_and_a_good_one_is_taken(lab: CoturnLab) -> None:
    started(lab)
    lab.until(lambda page: page.value("coturn_exporter_config_last_reload_successful") == 1)
    good = lab.coturn.config_file.read_text()
    for wrong in ("max-port=70000", "listening-port=70000", "min-port=60000\nmax-port=50000"):
        lab.coturn.config_file.write_text(f"{good}\n{wrong}\n")
        reload(lab)
        lab.until(lambda page: page.value("coturn_exporter_config_last_reload_successful") == 0)
    failures = lab.scrape().by("coturn_probe_failures_total", "reason")
    lab.coturn.freeze()  # shows that the probes go on
    try:
        lab.until(lambda page: page.by("coturn_probe_failures_total", "reason") != failures)
    finally:
        lab.coturn.thaw()
    page = lab.until(lambda page: page.value("coturn_up") == 1)
    assert page.value("coturn_relay_ports", state="capacity") == 16384
    lab.coturn.config_file.write_text(f"{good}\nmax-port=49999\n")
    reload(lab)
    page = lab.until(lambda page: page.value("coturn_exporter_config_last_reload_successful") == 1)
    assert page.value("coturn_relay_ports", state="capacity") == 848
    log = lab.exporter.log.read_text()
    assert "max-port=70000 is no port" in log
    assert "Traceback" not in log


def test_who_takes_the_clis_port_before_coturn_does_not_get_its_password(lab: CoturnLab) -> None:
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", lab.coturn.cli_port)) as thief:

        def listen() -> None:
            while True:
                try:
                    connection, _ = thief.accept()
                except OSError:
                    return
                with connection:
                    connection.settimeout(3)
                    connection.sendall(b"Enter password: \r\n")
                    heard.append(connection.recv(100))

        threading.Thread(target=listen, daemon=True).start()
        started(lab, CLI)
        page = lab.until(lambda page: heard and page.value("coturn_exporter_source_up", source="cli") == 0)
        assert set(heard) == {b""}
        assert page.active == agree(0, *SPECIFIED_SOURCES)
        thief.shutdown(socket.SHUT_RDWR)
    lab.coturn.restart()
    lab.until(lambda page: page.value("coturn_exporter_source_up", source="cli") == 1)


@pytest.mark.parametrize(
    "line",
    [
        "lt-cred-mech # only on",
        "verbose=on # yes",
        "verbose=1 # yes",
        "user-quota=12 # each",
        "listening-port=3478 # default",
        "denied-peer-ip=10.0.0.0-10.255.255.255 # inside",
    ],
)
def test_coturn_itself_says_which_comments_stop_it(tmp_path: Path, shared: CoturnLab, line: str) -> None:
    """It stops at the comment, or later, at two options that exclude each other."""
    config = tmp_path / "turnserver.conf"
    config.write_text(f"{line}\nuserdb={tmp_path}/db\nlog-file={tmp_path}/log\nno-udp-relay\nno-tcp-relay\n")
    run = subprocess.run(
        [shared.coturn.command()[0], "-c", str(config)], capture_output=True, text=True, check=False, timeout=20
    )
    said = run.stdout + run.stderr
    assert run.returncode
    stopped = any(text in said for text in ("Unknown boolean value", "Invalid port value", "invalid denied-peer-ip"))
    (name, value) = next((name, value) for _, name, value in in_file(line))
    found = comment(name, value, 1)
    version = shared.coturn.version
    effects = {
        "coturn does not start": True,
        "coturn 4.13 and newer do not start": version >= (4, 13),
        "coturn before 4.11 ignores the line, newer ones do not start": version >= (4, 11),
    }
    assert stopped == (found is not None and effects[found.effect]), said
