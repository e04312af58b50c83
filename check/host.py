"""Looks at the host it runs on for what only the host knows: units, timers, key files, logs. It changes nothing.

The result is a text for node_exporter's textfile collector. A fact that cannot be known has no sample.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path, PurePath
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
_KEYS: Final = ("APNS_KEY_PATH", "GOOGLE_APPLICATION_CREDENTIALS")
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
    "commeazy_secret_files_open": "Files with keys that others may read or write; a TLS key's group may read it.",
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


def _properties(unit: str) -> dict[str, str] | None:
    """Return what systemd says of a unit: nothing if it does not know it, None if it cannot be asked."""
    said = _run("systemctl", "show", unit, f"--property={','.join(_PROPERTIES)}")
    if said is None:
        return None
    found = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
    return found if found.get("LoadState") == "loaded" else {}


def _matching(root: Path, pattern: str) -> list[Path]:
    """Return what Path.glob does, which takes a folder that it may not read for an empty one. Raises OSError."""
    found = [root]
    for part in PurePath(pattern).parts:
        if "*" in part:
            found = [path for folder in found for path in sorted(folder.iterdir()) if path.match(part)]
        else:
            found = [folder / part for folder in found if _exists(folder / part)]
    return found


def _exists(path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


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
    try:
        if not _matching(root, "etc/letsencrypt/renewal/*.conf"):
            return
    except OSError as error:
        facts.wrong.append(f"{error.filename}: {error.strerror}, so whether certificates renew is not known")
        return
    timer = _properties("certbot.timer")
    lines, unread = _crontabs(root)
    active = (timer or {}).get("ActiveState") == "active" or any(_renews(line) for line in lines)
    doubts = [*([] if timer is not None else ["systemd cannot be asked"]), *unread]
    if not active and doubts:
        facts.wrong.append(f"certbot: {'; '.join(doubts)}, so whether certificates renew is not known")
        return
    facts.add("commeazy_timer_active", active, timer="certbot")
    if not active:
        facts.wrong.append("certbot: neither its timer nor a crontab renews certificates")


def _crontabs(root: Path) -> tuple[list[str], list[str]]:
    """Return the lines of cron's files, and why some of them could not be read."""
    # Debian's own /etc/cron.d/certbot does nothing where systemd runs.
    lines: list[str] = []
    unread: list[str] = []
    for pattern in ("etc/crontab", "etc/cron.d/*", "var/spool/cron/crontabs/*"):
        try:
            for path in _matching(root, pattern):
                lines += path.read_text(errors="replace").splitlines() if path.is_file() else []
        except OSError as error:
            unread.append(f"{error.filename}: {error.strerror}")
    return lines, unread


def _renews(line: str) -> bool:
    return (
        not line.lstrip().startswith("#")
        and bool(re.search(r"\bcertbot\b.*\brenew\b", line))
        and "/run/systemd/system" not in line
    )


def _secrets(facts: Facts, root: Path) -> None:
    # Prosody and coturn are not root: they read certbot's keys as members of a group.
    for kind, files, right in (("push", _push_keys, 0o600), ("tls", _tls_keys, 0o640)):
        try:
            modes = {path: path.stat().st_mode for path in files(root)}
        except OSError as error:
            facts.wrong.append(f"{error.filename}: {error.strerror}, so who may read the {kind} keys is not known")
            continue
        if modes:
            reachable = [path for path, mode in modes.items() if mode & 0o077 & ~right]
            facts.add("commeazy_secret_files_open", len(reachable), kind=kind)
            facts.wrong += [f"{path}: others may read or write it; chmod {right:o} {path}" for path in reachable]


def _push_keys(root: Path) -> Iterator[Path]:
    """Yield the environment files of the gateway and the key files that they name, read as systemd reads them."""
    for environment in _matching(root, "etc/commeazy/push-gateway*.env"):
        yield environment
        for line in environment.read_text(errors="replace").splitlines():
            name, _, value = line.strip().partition("=")
            if name in _KEYS and value:
                yield from (root / path.lstrip("/") for path in _words(value)[:1])


def _words(value: str) -> list[str]:
    try:
        return shlex.split(value)
    except ValueError:  # a quote without an end: there will be no such file, and that is said
        return [value]


def _tls_keys(root: Path) -> Iterator[Path]:
    for pattern in _TLS_KEYS:
        yield from _matching(root, pattern)


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
