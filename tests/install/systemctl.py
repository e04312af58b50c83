#!/usr/bin/python3
"""Plays systemctl in a root without systemd: starts a unit's ExecStart as its user, with environment and credentials.

It knows start, stop, restart, reload, enable, disable, daemon-reload, some of show; a timer runs its service once.
What it does not do: sandboxing, Restart=, dependencies, starting at boot. It is copied into the root and run by the
root's own Python: it imports nothing of ours.
"""

from __future__ import annotations

import os
import pwd
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

STATE = Path("/run/units")
PATIENCE = 70.0  # seconds to end; the gateway may take 65


def read(name: str) -> dict[str, list[str]]:
    """Return the settings of a unit and its drop-ins; an empty value takes back those before it (systemd.unit(5))."""
    places = [Path(folder) / f"{name}.service" for folder in ("/etc/systemd/system", "/lib/systemd/system")]
    unit = next((place for place in places if place.exists()), None)
    if unit is None:
        sys.exit(f"Failed to find {name}.service: Unit not found.")
    files = [unit, *sorted(Path(f"/etc/systemd/system/{name}.service.d").glob("*.conf"))]
    settings: dict[str, list[str]] = defaultdict(list)
    for file in files:
        for line in file.read_text(encoding="utf-8").splitlines():
            key, equals, value = line.partition("=")
            if not equals or line.startswith(("#", ";", "[")):
                continue
            if value:
                settings[key].append(value)
            else:
                settings[key].clear()
    return settings


def start(name: str) -> None:
    """Start it; fail if it ends at once."""
    unit = read(name)
    if unit["Type"] == ["oneshot"]:
        oneshot(unit)
        return
    user = unit["User"][-1] if unit["User"] else "nobody" if unit["DynamicUser"] == ["yes"] else "root"
    account = pwd.getpwnam(user)
    environment = {"PATH": os.environ["PATH"], "HOME": account.pw_dir, "USER": user}
    for line in unit["Environment"]:
        environment |= dict(pair.split("=", 1) for pair in shlex.split(line))
    for file in unit["EnvironmentFile"]:
        path = Path(file.removeprefix("-"))
        if path.exists() or not file.startswith("-"):
            environment |= variables(path)
    for folder in unit["RuntimeDirectory"]:
        made(Path("/run") / folder, account.pw_uid, account.pw_gid, 0o755)
    credentials = made(Path("/run/credentials") / f"{name}.service", account.pw_uid, account.pw_gid, 0o500)
    if unit["LoadCredential"]:
        environment["CREDENTIALS_DIRECTORY"] = str(credentials)
    for line in unit["LoadCredential"]:
        credential, source = line.split(":", 1)
        copy = credentials / credential
        copy.unlink(missing_ok=True)
        shutil.copyfile(source, copy)
        os.chown(copy, account.pw_uid, account.pw_gid)
        copy.chmod(0o400)
    command = re.sub("%d", str(credentials), unit["ExecStart"][-1])
    as_user = ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--init-groups"]
    if unit["NoNewPrivileges"] == ["yes"]:
        as_user.append("--no-new-privs")
    STATE.mkdir(parents=True, exist_ok=True)
    with (STATE / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            [*as_user, "bash", "-c", f"umask {(unit['UMask'] or ['0022'])[-1]}; exec {command}"],
            env=environment,
            cwd=(unit["WorkingDirectory"] or ["/"])[-1],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    (STATE / f"{name}.pid").write_text(str(process.pid))
    time.sleep(0.5)
    if process.poll() is not None:
        sys.exit(f"Job for {name}.service failed:\n" + (STATE / f"{name}.log").read_text(errors="replace")[-2000:])


def stop(name: str) -> None:
    """End it in its orderly way, and wait until it has."""
    unit = read(name)
    if unit["Type"] == ["oneshot"]:
        commands(unit["ExecStop"])
        return
    pid = running(name)
    if pid is None:
        return
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + PATIENCE
    while running(name):
        if time.monotonic() > deadline:
            sys.exit(f"{name}.service did not end in {PATIENCE:g} s")
        time.sleep(0.05)


def reload(name: str) -> None:
    """Run its ExecReload lines."""
    unit = read(name)
    if unit["Type"] == ["oneshot"]:
        commands(unit["ExecReload"])
        return
    pid = running(name)
    if pid is None:
        sys.exit(f"{name}.service is not active, cannot reload.")
    environment = {"PATH": os.environ["PATH"], "MAINPID": str(pid)}
    for line in unit["Environment"]:
        environment |= dict(pair.split("=", 1) for pair in shlex.split(line))
    for command in unit["ExecReload"]:
        subprocess.run(["bash", "-c", command], env=environment, check=True)


def commands(lines: list[str]) -> None:
    """Run the commands of a unit that starts no service, one after the other."""
    for line in lines:
        subprocess.run(shlex.split(line), check=True)


def oneshot(unit: dict[str, list[str]]) -> None:
    """Run the commands of a unit that does something and ends; SuccessExitStatus= says what else is no failure."""
    good = {0, *(int(word) for line in unit["SuccessExitStatus"] for word in line.split())}
    for line in unit["ExecStart"]:
        code = subprocess.run(shlex.split(line), check=False).returncode
        if code not in good:
            sys.exit(f"Job failed with {code}: {line}")


def running(name: str) -> int | None:
    """Return its process id, if it lives."""
    file = STATE / f"{name}.pid"
    pid = int(file.read_text()) if file.exists() else 0
    status = Path(f"/proc/{pid}/stat")
    alive = pid and status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"
    return pid if alive else None


def variables(path: Path) -> dict[str, str]:
    """Read an environment file (systemd.exec(5)), as far as ours and Debian's go."""
    text = path.read_text(encoding="utf-8").replace("\\\n", "")
    lines = [line.strip() for line in text.splitlines()]
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    return {key: "".join(shlex.split(value, comments=False)) if value[:1] in "\"'" else value for key, value in pairs}


def made(folder: Path, uid: int, gid: int, mode: int) -> Path:
    """Make a directory that belongs to the unit's user."""
    folder.mkdir(parents=True, exist_ok=True)
    os.chown(folder, uid, gid)
    folder.chmod(mode)
    return folder


def main() -> None:
    """Do what is asked."""
    verb, *rest = sys.argv[1:]
    now = "--now" in rest
    words = [word for word in rest if not word.startswith("-")]
    # Another package's timer starts nothing at its time here; ours run their service once.
    words = [word for word in words if not (word.endswith(".timer") and Path(f"/lib/systemd/system/{word}").exists())]
    units = [re.sub(r"\.(service|timer)$", "", word) for word in words]
    for unit in units:
        if verb == "show":
            print("LoadState=loaded", *(f"Restart={value}" for value in read(unit)["Restart"]), sep="\n")
            continue
        read(unit)
        if verb in ("stop", "restart") or (verb == "disable" and now):
            stop(unit)
        if verb in ("start", "restart") or (verb == "enable" and now):
            start(unit)
        if verb == "reload":
            reload(unit)
    if verb not in ("start", "stop", "restart", "reload", "enable", "disable", "daemon-reload", "show"):
        sys.exit(f"systemctl {verb} is not played here")


main()
