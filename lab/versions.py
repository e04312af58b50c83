"""`make versions`: runs the tests that depend on a program's version on its oldest and its newest one; prints a table.

Other versions are packages of Debian, fetched by lab/versions.sh. `make test` covers an installed version, so it does
not run again here. A version that cannot be had is one line, and an exit code of 1 like a test that fails.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lab.running.workspace import ROOT

HOME: Final = Path(os.environ.get("VERSIONS", ROOT / ".versions")).absolute()
AT_ONCE: Final = 2  # rows: tests wait more than they compute
_LIVE: Final = "tests/live/test_{}.py"
_OF_PROSODY: Final = tuple(
    f"prosody_{part}" for part in ("versions", "truth", "instrument", "configuration", "settings", "older_clients")
)
_STACK: Final = (_LIVE.format("stack"),)
_RULES: Final = (_LIVE.format("rules_loaded"), _LIVE.format("prometheus_folder"))


class UnavailableError(Exception):
    """One line: why a version cannot be had."""


@dataclass(frozen=True)
class Program:
    """A program, and what to test with each of its versions.

    Attributes:
        name: as people write it.
        packages: of Debian; the first has the version.
        suites: of Debian, with the oldest and the newest version.
        commands: the beginnings of the commands that tests must find on PATH.
        tests: what pytest runs.
    """

    name: str
    packages: tuple[str, ...]
    commands: tuple[str, ...]
    tests: tuple[str, ...]
    suites: tuple[str, ...] = ("bookworm", "sid")


@dataclass(frozen=True)
class VersionRow:
    """One line of the table, and the tests' output if one failed."""

    name: str
    version: str
    result: str
    failed: bool = False
    output: str = ""


PROGRAMS: Final = (
    Program(
        "Prosody",
        ("prosody", "lua-dbi-postgresql"),
        ("prosody",),
        tuple(map(_LIVE.format, (*_OF_PROSODY, "push", "push_kinds", "push_tokens", "push_wakeups"))),
        ("bookworm-backports", "sid"),
    ),
    Program(
        "coturn",
        ("coturn",),
        ("turn",),
        tuple(map(_LIVE.format, ("coturn", "coturn_otherwise", "coturn_settings", "coturn_logrotate"))),
    ),
    Program("HAProxy", ("haproxy",), ("haproxy",), (*_STACK, _LIVE.format("certificates"))),
    Program("Prometheus", ("prometheus",), ("prometheus", "promtool"), (*_RULES, _LIVE.format("promtool"))),
    Program("Alertmanager", ("prometheus-alertmanager",), ("prometheus-alertmanager", "amtool"), _RULES),
    Program("postgres_exporter", ("prometheus-postgres-exporter",), ("prometheus-postgres-exporter",), _STACK),
    Program("VictoriaMetrics", ("victoria-metrics",), ("v",), (_LIVE.format("victoriametrics"),)),
)
PYTHONS: Final = ("3.11", "3.12", "3.13")
OF_PYTHON: Final = ("tests/exporters", "tests/gateway", "tests/toolkit", "tests/xmpp", "tests/check", "tests/alerts")


def main() -> int:
    """Run everything and print the table; return 1 if a test failed or a version cannot be had."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        running = [pool.submit(of_program, program, suite) for program in PROGRAMS for suite in program.suites]
        running += [pool.submit(of_python, version) for version in PYTHONS]
        rows = [one.result() for one in running]
    for row in rows:
        if row.output:
            print(f"\n{row.name} {row.version}:\n{row.output}")
    print("\nprogram            version                  result")
    for row in rows:
        print(f"{row.name:<19}{row.version:<25}{row.result}")
    return int(any(row.failed for row in rows))


def of_program(program: Program, suite: str) -> VersionRow:
    """Test one version of a program that Debian packages."""
    try:
        version = fetch("--which", suite, program.packages[0])
        if upstream(version) == upstream(installed(program.packages[0])):
            return VersionRow(program.name, version, "is installed: `make test` covers it")
        folder = Path(fetch(suite, *program.packages))
    except UnavailableError as error:
        return VersionRow(program.name, f"of {suite}", str(error), failed=True)
    with tempfile.TemporaryDirectory() as name:
        for command in folder.iterdir():
            if command.name.startswith(program.commands):
                (Path(name) / command.name).symlink_to(command)
        return tested(program.name, version, sys.executable, program.tests, f"{name}:{os.environ['PATH']}")


def of_python(version: str) -> VersionRow:
    """Test the product on one version of Python, in an environment of its own with the locked packages."""
    name = f"{sys.version_info.major}.{sys.version_info.minor}"
    if version == name:
        return VersionRow("Python", version, "is installed: `make test` covers it")
    try:
        environment = make_environment(version, interpreter(version))
    except UnavailableError as error:
        return VersionRow("Python", version, str(error), failed=True)
    return tested("Python", version, str(environment / "bin/python"), OF_PYTHON, os.environ["PATH"])


def fetch(*arguments: str) -> str:
    """Run lab/versions.sh; return what it prints. Raises UnavailableError with its last line."""
    environment = os.environ | {"VERSIONS": str(HOME)}
    done = subprocess.run(
        [ROOT / "lab/versions.sh", *arguments], check=False, capture_output=True, text=True, env=environment
    )
    if done.returncode:
        raise UnavailableError((done.stderr.strip().splitlines() or ["lab/versions.sh failed and printed nothing"])[-1])
    return done.stdout.strip()


def installed(package: str) -> str:
    """Return the version of an installed package; "" if it is not installed."""
    done = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Version}", package], check=False, capture_output=True, text=True
    )
    return done.stdout


def upstream(version: str) -> str:
    """Return a package's version without Debian's part: a security update is the same version to us."""
    return version.rpartition("-")[0].partition("+")[0]


def interpreter(version: str) -> str:
    """Find a Python: on PATH, in pyenv's folder or in a suite of Debian. Raises UnavailableError."""
    name = f"python{version}"
    pyenv = sorted(Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")).glob(f"versions/{version}.*/bin/{name}"))
    for found in (shutil.which(name), *map(str, pyenv)):
        if found and subprocess.run([found, "-c", "import venv"], check=False, capture_output=True).returncode == 0:
            return found
    return f"{fetch('sid', name, f'{name}-venv')}/{name}"


def make_environment(version: str, python: str) -> Path:
    """Make a virtual environment with the locked packages and this project. Raises UnavailableError."""
    folder = HOME / f"python{version}"
    pip = [sys.executable, "-m", "pip", "--python", str(folder), "install", "--quiet", "--disable-pip-version-check"]
    steps = (
        [python, "-m", "venv", "--clear", "--without-pip", str(folder)],
        [*pip, "--require-hashes", "-r", "requirements.lock"],
        [*pip, "--no-deps", "--no-build-isolation", "--editable", "."],
    )
    for step in steps:
        done = subprocess.run(step, check=False, capture_output=True, text=True, cwd=ROOT)
        if done.returncode:
            raise UnavailableError((done.stderr.strip().splitlines() or [f"{step[0]} failed"])[-1])
    return folder


def tested(name: str, version: str, python: str, tests: tuple[str, ...], path: str) -> VersionRow:
    """Run pytest; the row has its last line."""
    there = [test for test in tests if (ROOT / test).exists()]
    if not there:
        return VersionRow(name, version, f"no test: {', '.join(tests)} does not exist", failed=True)
    began = time.monotonic()
    command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *there]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, cwd=ROOT, env=os.environ | {"PATH": path}
    )
    last = (done.stdout.strip().splitlines() or ["pytest printed nothing"])[-1]
    result = f"{last}: {', '.join(Path(test).stem for test in there)}"
    print(f"  {name} {version}: {last} ({time.monotonic() - began:.0f} s)", flush=True)
    return VersionRow(
        name, version, result, bool(done.returncode), (done.stdout + done.stderr) if done.returncode else ""
    )


if __name__ == "__main__":
    sys.exit(main())
