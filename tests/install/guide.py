"""Reads docs/install.md: its commands by host, and the places where a person edits or looks; runs nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from lab.running.workspace import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

GUIDE: Final = ROOT / "docs/install.md"
HOSTS: Final = ("build", "prosody", "coturn", "haproxy", "postgresql", "monitoring", "iptables", "planned")
# Lines that the trial leaves out, and why. docs/install.md says the same to its readers.
UNTRIED: Final = {
    r"for host in .*scp ": "one machine: the archive is copied into the roots",
    r"/opt\S+/commeazy-maintenance (start|end) |# \.\.\. update Prosody": "one node has no other to take its users",
    r"commeazy-backup restore_test ": "this database has no accounts; tests/live/test_backup.py restores one that has",
    r"systemctl restart grafana-server": "Debian has no package of Grafana",
}
_PART: Final = re.compile(
    r"^```(?P<language>\w+)(?P<hosts>[ \w]*)\n(?P<text>.*?)^```$"
    r"|^<!-- trial: (?P<mark>[\w -]+) -->$"
    r"|^## (?P<title>[^\n]+)$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the hosts it is for, and its first line in the file."""

    language: str
    hosts: tuple[str, ...]
    text: str
    line: int
    title: str

    @property
    def tried(self) -> str:
        """The text without the lines of UNTRIED."""
        return "".join(line for line in self.text.splitlines(keepends=True) if not reason(line))


@dataclass(frozen=True)
class Mark:
    """A place where the trial does what the page tells in words, or looks whether it is right."""

    words: tuple[str, ...]
    line: int


def reason(line: str) -> str | None:
    """Return why the trial leaves this line out; None if it runs it."""
    return next((why for pattern, why in UNTRIED.items() if re.match(pattern, line)), None)


def parts() -> Iterator[Block | Mark]:
    """Read the guide from top to bottom."""
    text = GUIDE.read_text(encoding="utf-8")
    title = ""
    for found in _PART.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        if found["title"]:
            title = found["title"]
        elif found["mark"]:
            yield Mark(tuple(found["mark"].split()), line)
        else:
            yield Block(found["language"], tuple(found["hosts"].split()), found["text"], line + 1, title)
