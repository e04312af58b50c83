"""Counts personal data in logs: user addresses, long tokens, public IP addresses. It never shows or keeps a text."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

KINDS: Final = ("user_address", "token", "ip_address")
WORDS: Final = {"user_address": "user addresses", "token": "tokens", "ip_address": "IP addresses"}
_MOST_BYTES: Final = 2**28  # of one log; the rest is left out, and the line says so
_LONGEST_LINE: Final = 2**16
_TIMEOUT: Final = 120.0  # seconds for the journal to come
# Characters of RFC 7622 that a log would have; a unit's instance (getty@tty1.service) is nobody's address.
_USER_ADDRESS: Final = re.compile(
    rb"[\w.+%~=-]+@(?!\S*\.(?:service|socket|slice|mount|timer))[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+"
)
# Device tokens: 32 hex digits or more (APNs has 64), and FCM's `instance:APA91b...`.
_TOKEN: Final = re.compile(rb"(?<![0-9A-Za-z])[0-9A-Fa-f]{32,}(?![0-9A-Za-z])|[\w-]{8,}:APA91[\w-]{20,}")
_ADDRESS: Final = re.compile(
    rb"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.]*\d)|(?<![\w:])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:])"
)


class LogError(Exception):
    """One line: which log cannot be read, why, and what to do."""


@dataclass(frozen=True)
class Count:
    """What is in a log.

    Args:
        lines: that were read.
        found: how many finds, by KINDS.
        whole: whether the log was read to its end.
    """

    lines: int
    found: dict[str, int]
    whole: bool = True

    def __str__(self) -> str:
        finds = ", ".join(f"{number:,} {WORDS[kind]}" for kind, number in self.found.items() if number)
        end = "" if self.whole else f" (only the first {_MOST_BYTES >> 20} MiB)"
        return f"{finds or 'no personal data'} in {self.lines:,} lines{end}"


def count(lines: Iterable[bytes]) -> Count:
    """Count what is in these lines."""
    found = dict.fromkeys(KINDS, 0)
    number = size = 0
    for line in lines:
        number, size = number + 1, size + len(line)
        if size > _MOST_BYTES:
            return Count(number, found, whole=False)
        if b"@" in line:
            found["user_address"] += len(_USER_ADDRESS.findall(line))
        found["token"] += len(_TOKEN.findall(line))
        found["ip_address"] += sum(_is_public(text) for text in _ADDRESS.findall(line))
    return Count(number, found)


def _is_public(text: bytes) -> bool:
    try:
        return ip_address(text.decode("ascii")).is_global
    except ValueError:
        return False


def read(source: str) -> Count:
    """Count what is in a log.

    Args:
        source: a file's path, or `journal:UNIT` for the last hour of a unit.

    Raises:
        LogError: it cannot be read.
    """
    if source.startswith("journal:"):
        return _journal(source.removeprefix("journal:"))
    try:
        with Path(source).open("rb") as file:
            return count(iter(lambda: file.readline(_LONGEST_LINE), b""))
    except OSError as error:
        raise LogError(f"{source}: cannot be read: {error.strerror}; run this as root") from None


def _journal(unit: str) -> Count:
    """Read the last hour of a unit: `commeazy-check --host-facts` does it each hour."""
    # --system: without it, an account that may read no journal but its own sees none of the unit's lines, and no error.
    command = ["journalctl", "--system", "--quiet", "--no-pager", "--output=cat", "--since=-1h", f"--unit={unit}"]
    try:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:  # noqa: S603
            assert process.stdout
            assert process.stderr
            counted = count(_lines(process.stdout))
            process.stdout.close()
            said = process.stderr.read(500).decode(errors="replace").strip()
            if process.wait(_TIMEOUT) > 0 and counted.whole:
                raise LogError(f"journal:{unit}: cannot be read: {said or 'journalctl failed'}; run this as root")
    except OSError as error:
        raise LogError(f"journal:{unit}: journalctl cannot be run: {error.strerror}") from None
    return counted


def _lines(stream: object) -> Iterator[bytes]:
    yield from iter(lambda: stream.readline(_LONGEST_LINE), b"")  # type: ignore[attr-defined] # a binary stream


def of_this_host(root: Path = Path("/")) -> dict[str, str]:
    """Return the logs of the service's programs that this host has: source by name."""
    found = {}
    for name, folder in (("prosody", root / "var/log/prosody"), ("coturn", root / "var/log/turnserver")):
        try:
            paths = sorted(folder.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            found[name] = str(folder)  # reading it says why that cannot be done
            continue
        found |= {f"{name} {path.name}": str(path) for path in paths if path.suffix in (".log", ".warn", ".err")}
    units: Sequence[str] = (
        "push-gateway",
        "push-gateway-voip",
        "push-gateway-fcm",
        "prosody-exporter",
        "coturn-exporter",
    )
    for unit in units:
        if (root / f"etc/systemd/system/{unit}.service").exists():
            found[unit] = f"journal:{unit}"
    return found
