"""What the set-up script says and does for someone who is not root, on a machine made of the few programs it needs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lab.running.workspace import ROOT

_TOOLS = (
    "bash",
    "env",
    "dirname",
    "cat",
    "cut",
    "sed",
    "awk",
    "grep",
    "sort",
    "tr",
    "mktemp",
    "sha256sum",
    "mkdir",
    "cp",
)

# A Python of the version in FAKE_PYTHON that records what it is asked; it "creates" an environment by copying itself.
_PYTHON = """#!/usr/bin/env bash
echo "$*" >>"$CALLS"
case "$*" in
    --version) echo "Python $FAKE_PYTHON" ;;
    *version_info*) [[ $FAKE_PYTHON == 3.1[1-9].* ]] ;;
    "-m venv"*) mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
esac
"""

SERVERS = (
    "prosody",
    "prometheus",
    "promtool",
    "amtool",
    "prometheus-alertmanager",
    "haproxy",
    "turnserver",
    "postgres",
    "prometheus-node-exporter",
    "linux.uml",
    "prometheus-postgres-exporter",
    "setpriv",
    "systemd-analyze",
    "lua-dbi-postgresql",
)


class Machine:
    """A folder of programs for PATH, and a checkout with nothing but what the script reads."""

    def __init__(self, folder: Path) -> None:
        self.checkout = folder / "checkout"
        (self.checkout / "lab").mkdir(parents=True)
        for file in ("lab/install.sh", "requirements.lock", "pyproject.toml"):
            shutil.copy(ROOT / file, self.checkout / file)
        self.programs = folder / "bin"
        self.programs.mkdir()
        for tool in _TOOLS:
            (self.programs / tool).symlink_to(shutil.which(tool) or tool)
        self.add("id", "#!/bin/sh\necho 1000\n")
        self.add(
            "apt-get", "#!/bin/sh\necho apt-get $* >>$CALLS\n[ $1 != indextargets ] || echo http://mirror.example/\n"
        )
        self.add("apt-cache", "#!/bin/sh\n")
        self.add("python3", _PYTHON)
        self.calls = folder / "calls"
        self.environment = {
            "PATH": str(self.programs),
            "CALLS": str(self.calls),
            "FAKE_PYTHON": "3.11.2",
            "HOME": str(folder),
        }

    def add(self, name: str, text: str) -> None:
        program = self.programs / name
        program.write_text(text)
        program.chmod(0o755)

    def add_prosody(self, version: str) -> None:
        source = self.programs.parent / "prosody"
        source.mkdir(exist_ok=True)
        (source / "prosody.version").write_text(version)
        self.add("prosody", f"#!/bin/sh\nCFG_SOURCEDIR='{source}';\n")

    def add_servers(self) -> None:
        self.add_prosody("13.0.1")
        for program in (*SERVERS[1:], "lua5.4"):
            self.add(program, "")

    def install(self, purpose: str, **environment: str) -> subprocess.CompletedProcess[str]:
        self.calls.write_text("")
        return subprocess.run(
            [self.checkout / "lab/install.sh", purpose],
            check=False,
            env=self.environment | environment,
            capture_output=True,
            text=True,
        )

    def called(self, word: str) -> list[str]:
        return [line for line in self.calls.read_text().splitlines() if word in line]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_the_demo_refuses_without_its_servers_and_names_them_and_how_to_get_them(machine: Machine) -> None:
    run = machine.install("demo")
    assert run.returncode == 1
    assert f"Missing on this machine: {' '.join(SERVERS)} (Prosody must be 13.0.x; " in run.stderr
    assert run.stderr.splitlines()[-1] == "install: the demo runs these servers, so it cannot start"
    if "ID=debian" in Path("/etc/os-release").read_text():
        assert "apt-get install --no-install-recommends coturn haproxy kmod lua-dbi-postgresql postgresql" in run.stderr
        assert "-backports prosody" in run.stderr
        assert "URIs: http://mirror.example/" in run.stderr  # the one this machine uses
    else:
        assert "https://prosody.im/download/" in run.stderr
    assert not machine.called("apt-get install")
    assert not machine.called("apt-get update")


def test_the_tests_go_on_without_servers_and_say_so(machine: Machine) -> None:
    run = machine.install("test")
    assert run.returncode == 0
    assert "Missing on this machine" in run.stderr
    assert machine.called("pip install")


def test_in_ci_missing_servers_are_a_failure(machine: Machine) -> None:
    run = machine.install("test", CI="true")
    assert run.returncode == 1
    assert "nothing may be left out" in run.stderr


def test_with_its_servers_there_is_nothing_to_say(machine: Machine) -> None:
    machine.add_servers()
    run = machine.install("demo")
    assert (run.returncode, run.stderr) == (0, "")
    assert machine.install("missing").stdout == ""


def test_the_tools_of_the_tests_are_asked_for_by_them_alone(machine: Machine) -> None:
    machine.add_servers()
    run = machine.install("test")
    assert run.returncode == 0
    assert "Missing on this machine: curl jq openssl" in run.stderr
    assert machine.install("test", CI="true").returncode == 1
    assert machine.install("demo").stderr == ""


def test_an_older_prosody_counts_as_missing(machine: Machine) -> None:
    machine.add_servers()
    machine.add_prosody("0.12.3")
    assert machine.install("missing").stdout == "prosody\n"
    assert machine.install("demo").stderr.splitlines()[-1].endswith("these servers, so it cannot start")


def test_another_prosody_can_be_named(machine: Machine) -> None:
    machine.add_servers()
    (machine.programs / "prosody").rename(machine.programs / "prosody-new")
    assert machine.install("missing").stdout == "prosody\n"
    assert machine.install("missing", PROSODY="prosody-new").stdout == ""


def test_the_second_run_installs_nothing(machine: Machine) -> None:
    machine.add_servers()
    assert "Creating .venv" in machine.install("demo").stdout
    assert len(machine.called("--require-hashes")) == 1
    second = machine.install("demo")
    assert second.stdout == ""
    assert not machine.called("pip install")


def test_a_changed_lock_file_is_installed(machine: Machine) -> None:
    machine.add_servers()
    machine.install("demo")
    with (machine.checkout / "requirements.lock").open("a") as lock:
        lock.write("# changed\n")
    machine.install("demo")
    assert machine.called("--require-hashes")
    assert not machine.called("venv --clear")


def test_an_interrupted_installation_is_done_again(machine: Machine) -> None:
    machine.add_servers()
    machine.install("demo")
    (machine.checkout / ".venv/installed").unlink()
    machine.install("demo")
    assert machine.called("--require-hashes")


def test_an_old_python_is_refused_with_its_version(machine: Machine) -> None:
    run = machine.install("test", FAKE_PYTHON="3.10.12")
    assert run.returncode == 1
    assert run.stderr == ("install: python3 is Python 3.10.12, but 3.11 or newer is needed; name one with PYTHON=...\n")


def test_a_missing_python_is_named_with_its_package(machine: Machine) -> None:
    (machine.programs / "python3").unlink()
    run = machine.install("test")
    assert run.returncode == 1
    assert "apt-get install python3 python3-venv" in run.stderr


def test_missing_servers_leave_the_live_tests_out_and_list_them(machine: Machine) -> None:
    pytest_run = _collect_live(machine, {})
    if os.geteuid() == 0:
        assert pytest_run.returncode == 4
        assert f"not installed: {', '.join(SERVERS)}; run `make test`, it installs them" in pytest_run.stderr
    else:
        assert f"left out, because not installed: {', '.join(SERVERS)}" in pytest_run.stdout
        assert "  tests/live/test_lab.py::test_two_stacks_run_side_by_side" in pytest_run.stdout


def test_missing_servers_are_an_error_in_ci(machine: Machine) -> None:
    assert _collect_live(machine, {"CI": "true"}).returncode == 4


def _collect_live(machine: Machine, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "tests/live/test_lab.py"],
        check=False,
        cwd=ROOT,
        env=machine.environment | environment,
        capture_output=True,
        text=True,
    )
