"""Looks at the host it runs on for what only the host knows: units, timers, key files, logs. It changes nothing.

The result is a text for node_exporter's textfile collector. A fact that cannot be known has no sample.
"""

from __future__ import annotations

import re
import shlex
import stat
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from check import logs
from check.textfile import gauge

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

GATEWAYS: Final = ("push-gateway", "push-gateway-voip", "push-gateway-fcm")
_TIMEOUT: Final = 30.0  # seconds for one command
_RESTARTING: Final = ("always", "on-failure")
_PROPERTIES: Final = (
    *("LoadState", "ActiveState", "UnitFileState", "Restart", "NRestarts"),
    *("ActiveEnterTimestampMonotonic", "ActiveExitTimestampMonotonic"),
)
_ROTATED_WITHIN: Final = 2 * 86400  # seconds since logrotate last ran
_KEYS: Final = {"push": ("APNS_KEY_PATH", "GOOGLE_APPLICATION_CREDENTIALS")}
_TLS_KEYS: Final = ("etc/letsencrypt/live/*/privkey.pem", "etc/ssl/commeazy/*.pem")


@dataclass
class Facts:
    """What was found.

    Attributes:
        samples: by family, labels and value.
        wrong: one line for each thing that is not as it should be.
    """

    samples: dict[str, list[tuple[Mapping[str, str], float]]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def add(self, family: str, value: float, **labels: str) -> None:
        """Add one sample."""
        self.samples.setdefault(family, []).append((labels, value))

    def text(self, now: float) -> str:
        """Return the samples in Prometheus' text format, with the time of the look."""
        self.samples["commeazy_host_facts_timestamp_seconds"] = [({}, round(now))]
        return "".join(gauge(name, FAMILIES[name], self.samples.get(name, ())) for name in FAMILIES)


FAMILIES: Final = {
    "commeazy_host_facts_timestamp_seconds": "When commeazy-check --host-facts last looked, in seconds since 1970.",
    "commeazy_unit_restarts": "1 if systemd restarts the unit when it fails.",
    "commeazy_unit_enabled": "1 if the unit starts with the host.",
    "commeazy_unit_restart_seconds": "Seconds from the unit's last failure until it was back.",
    "commeazy_timer_active": "1 if the timer, or a line of cron in its place, is active.",
    "commeazy_secret_files_open": "Files with keys that others than their owner may read or write.",
    "commeazy_log_personal_data": "User addresses, tokens and public IP addresses in a log; a unit's last hour.",
    "commeazy_logs_not_rotated": "Log files of the service that logrotate does not rotate.",
}


def look(root: Path = Path("/")) -> Facts:
    """Look at this host, or at the files below another root."""
    facts = Facts()
    for unit in GATEWAYS:
        _unit(facts, unit)
    _certbot(facts, root)
    _secrets(facts, root)
    _personal_data(facts, root)
    _rotation(facts, root)
    return facts


def _run(*command: str) -> str | None:
    """Return what a command prints; None if it cannot be run or fails."""
    try:
        done = subprocess.run(  # noqa: S603 - fixed commands of the system
            command, check=False, capture_output=True, text=True, timeout=_TIMEOUT, errors="replace"
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout + done.stderr if done.returncode == 0 else None


def _properties(unit: str) -> dict[str, str]:
    """Return what systemd says of a unit; nothing if it does not know it."""
    said = _run("systemctl", "show", unit, f"--property={','.join(_PROPERTIES)}")
    found = dict(line.split("=", 1) for line in (said or "").splitlines() if "=" in line)
    return found if found.get("LoadState") == "loaded" else {}


def _unit(facts: Facts, name: str) -> None:
    known = _properties(f"{name}.service")
    if not known:
        return
    for family, name_of, good, advice in (
        ("commeazy_unit_restarts", "Restart", _RESTARTING, "systemd does not restart it; Restart=always is missing"),
        (
            "commeazy_unit_enabled",
            "UnitFileState",
            ("enabled",),
            "does not start with the host; systemctl enable it",
        ),
    ):
        if said := known.get(name_of):
            facts.add(family, said in good, unit=name)
            if said not in good:
                facts.wrong.append(f"{name}: {advice}")
    if (seconds := restart_seconds(known)) is not None:
        facts.add("commeazy_unit_restart_seconds", seconds, unit=name)


def restart_seconds(known: Mapping[str, str]) -> float | None:
    """Return for how many seconds a unit was away at its last failure; None if it had none, or is still away.

    Args:
        known: systemd's properties of the unit (org.freedesktop.systemd1(5)).
    """
    try:
        failures = int(known["NRestarts"])
        left, entered = (int(known[f"Active{what}TimestampMonotonic"]) for what in ("Exit", "Enter"))
    except (KeyError, ValueError):
        return None
    return (entered - left) / 1e6 if failures and 0 < left <= entered else None


def _certbot(facts: Facts, root: Path) -> None:
    if not any((root / "etc/letsencrypt/renewal").glob("*.conf")):
        return
    timer = _properties("certbot.timer").get("ActiveState") == "active"
    active = timer or any(_renews(line) for line in _crontabs(root))
    facts.add("commeazy_timer_active", active, timer="certbot")
    if not active:
        facts.wrong.append("certbot: neither its timer nor a crontab renews certificates")


def _crontabs(root: Path) -> Iterator[str]:
    # Debian's own /etc/cron.d/certbot does nothing where systemd runs.
    for pattern in ("etc/crontab", "etc/cron.d/*", "var/spool/cron/crontabs/*"):
        for path in root.glob(pattern):
            try:
                yield from path.read_text(errors="replace").splitlines()
            except OSError:
                continue


def _renews(line: str) -> bool:
    return (
        not line.lstrip().startswith("#")
        and bool(re.search(r"\bcertbot\b.*\brenew\b", line))
        and "/run/systemd/system" not in line
    )


def _secrets(facts: Facts, root: Path) -> None:
    found: dict[str, list[Path]] = {"push": [], "tls": []}
    for environment in sorted((root / "etc/commeazy").glob("push-gateway*.env")):
        found["push"] += [environment, *(root / path.lstrip("/") for path in _named(environment))]
    for pattern in _TLS_KEYS:
        found["tls"] += sorted(root.glob(pattern))
    for kind, paths in found.items():
        try:
            modes = {path: path.stat().st_mode for path in paths}
        except OSError as error:
            facts.wrong.append(f"{error.filename}: {error.strerror}, so who may read it is not known")
            continue
        if modes:
            reachable = [path for path, mode in modes.items() if mode & (stat.S_IRWXG | stat.S_IRWXO)]
            facts.add("commeazy_secret_files_open", len(reachable), kind=kind)
            facts.wrong += [f"{path}: others than its owner may read it; chmod 600 {path}" for path in reachable]


def _named(environment: Path) -> Iterator[str]:
    """Yield the key files that an environment file names, read as systemd reads it."""
    try:
        lines = environment.read_text(errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        name, _, value = line.strip().partition("=")
        if name in _KEYS["push"] and value:
            yield "".join(shlex.split(value, comments=False)[:1])


def _personal_data(facts: Facts, root: Path) -> None:
    totals: dict[str, dict[str, int] | None] = {}
    for name, source in logs.of_this_host(root).items():
        program = name.partition(" ")[0]
        try:
            found = logs.read(source).found
        except logs.LogError as error:
            facts.wrong.append(str(error))
            totals[program] = None
            continue
        before = totals.get(program, dict.fromkeys(logs.KINDS, 0))
        totals[program] = before and {kind: before[kind] + found[kind] for kind in logs.KINDS}
    for program, counts in totals.items():
        for kind, number in (counts or {}).items():
            facts.add("commeazy_log_personal_data", number, log=program, kind=kind)


def _rotation(facts: Facts, root: Path) -> None:
    """Ask logrotate itself, in its dry run, which logs it would rotate."""
    folder = root / "var/log/prosody"
    files = [path for path in sorted(folder.glob("*")) if path.suffix in (".log", ".warn", ".err")]
    said = _run("logrotate", "--debug", str(root / "etc/logrotate.conf"))
    state = root / "var/lib/logrotate/status"
    if not files or said is None:
        return
    covered = set(re.findall(r"considering log (\S+)", said))
    runs = state.exists() and time.time() - state.stat().st_mtime < _ROTATED_WITHIN
    left_out = [path for path in files if not runs or str(path) not in covered]
    facts.add("commeazy_logs_not_rotated", len(left_out))
    why = "no logrotate configuration has it" if runs else "logrotate has not run for two days"
    facts.wrong += [f"{path}: is not rotated: {why}" for path in left_out]
