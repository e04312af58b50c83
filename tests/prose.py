"""`python -m tests.prose` finds the words of tests/words.txt in every text of ours; codespell checks the spelling.

One line for each find, exit code 1 if there is one.
"""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
WORDS: Final = ROOT / "tests/words.txt"
_PROGRAMS: Final = (".c", ".lua", ".py", ".sh", "")
KINDS: Final = (*_PROGRAMS, ".cfg", ".conf", ".md", ".nft", ".service", ".toml", ".txt", ".yaml", ".yml")
# Texts of others, recordings, and the words themselves.
OTHERS: Final = ("tests/recorded/", "tests/words.txt", "tests/test_prose.py", "lab/servers/prosody.appendix-a.cfg.lua")


@dataclass(frozen=True)
class Word:
    """A word not to use, and the advice."""

    pattern: re.Pattern[str]
    advice: str


def words(text: str) -> list[Word]:
    """Read the list. Raises ValueError for a line that is neither a rule nor a comment."""
    found = []
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        pattern, arrow, advice = line.partition(" -> ")
        if not arrow:
            raise ValueError(f"{WORDS.name}: {line!r} has no ` -> `")
        phrase = pattern.replace(" ", "[ _]")  # an underscore parts words, too, as in a test's name
        found.append(Word(re.compile(rf"(?<![^\W_])(?<!-)({phrase})(?![^\W_])", re.IGNORECASE), advice))
    return found


def finds(name: str, text: str, known: list[Word]) -> list[str]:
    """Return one line for each word that a text should not have."""
    return [
        f'{name}:{number}: "{match[0]}": say instead: {word.advice}'
        for number, line in enumerate(text.splitlines(), 1)
        for word in known
        for match in word.pattern.finditer(line)
    ]


def every_text() -> list[str]:
    """Return the paths of all texts that are ours, tracked or new."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout.splitlines()
    return [
        name
        for name in listed
        if Path(name).suffix in KINDS and not name.startswith(OTHERS) and (ROOT / name).is_file()
    ]


def main() -> int:
    """Print every find; return 1 if there is one."""
    known = words(WORDS.read_text(encoding="utf-8"))
    found = [line for name in every_text() for line in finds(name, (ROOT / name).read_text(encoding="utf-8"), known)]
    sys.stdout.writelines(f"{line}\n" for line in found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
