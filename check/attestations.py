"""Keeps who attested which item of the checklist, and when: one JSON file, the last word for each item, no history."""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT: Final = Path("/var/lib/commeazy/attestations.json")
_MOST_BYTES: Final = 2**20
_LONGEST: Final = {"by": 100, "note": 500}  # characters


class AttestationError(Exception):
    """One line: which file or word, what is wrong, and what to do."""


@dataclass(frozen=True)
class Attestation:
    """A person's word for an item.

    Args:
        by: the person's name.
        at: seconds since 1970, whole ones.
        note: what the person saw, "" for nothing.
    """

    by: str
    at: int
    note: str = ""

    @property
    def date(self) -> str:
        """The day, in UTC."""
        return datetime.fromtimestamp(self.at, UTC).strftime("%Y-%m-%d")


def load(path: Path) -> dict[str, Attestation]:
    """Read the file; a missing one has none.

    Raises:
        AttestationError: it cannot be read, or is not what this module wrote.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise AttestationError(f"{path}: cannot be read: {error.strerror}; check its permissions") from None
    try:
        return _parsed(text)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, OverflowError):
        raise AttestationError(f"{path}: is not what --attest wrote; restore it from a backup, or remove it") from None


def _parsed(text: bytes) -> dict[str, Attestation]:
    if len(text) > _MOST_BYTES:
        raise ValueError
    words = {
        str(item): Attestation(_line("by", row["by"]), int(_moment(row["at"])), _line("note", row.get("note", "")))
        for item, row in json.loads(text).items()
    }
    if not all(word.by.strip() and word.date for word in words.values()):  # a moment of no year has no date
        raise ValueError
    return words


def attest(path: Path, item: str, attestation: Attestation) -> None:
    """Write a word into the file, in place of an earlier one for the item.

    Raises:
        AttestationError: the word is too long or has more than one line, or the file cannot be written.
    """
    for name in _LONGEST:
        try:
            _line(name, getattr(attestation, name))
        except ValueError:
            limit = _LONGEST[name]
            raise AttestationError(f"--{name}: must be one printable line of at most {limit} characters") from None
    if not attestation.by.strip():
        raise AttestationError("--by: must be the name of the person who attests")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two people at the same moment: neither word is lost
            _write(path, load(path) | {item: attestation})
    except OSError as error:
        raise AttestationError(f"{path}: cannot be written: {error.strerror}; run this as root") from None


def _write(path: Path, words: Mapping[str, Attestation]) -> None:
    """Replace the file in one step, so that a full disk keeps the old one."""
    rows = {
        item: {"by": word.by, "at": datetime.fromtimestamp(word.at, UTC).isoformat(), "note": word.note}
        for item, word in sorted(words.items())
    }
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".attestations-", delete=False) as file:
        try:
            json.dump(rows, file, indent=1, ensure_ascii=False)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).replace(path)
        except OSError:
            Path(file.name).unlink(missing_ok=True)
            raise


def _line(name: str, text: object) -> str:
    if not isinstance(text, str) or not (text.isprintable() and len(text) <= _LONGEST[name]):
        raise ValueError
    return text


def _moment(text: str) -> float:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError
    return moment.timestamp()
