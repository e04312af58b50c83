"""Counts what Prosody stores, in its database or in its files: rows by store, and accounts whose password is readable.

It reads counts only (deploy/postgresql/checklist.sql) and the names of files; of account files it looks for one key.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections import Counter
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from check.client import one_line
from check.probes import Probed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from check.site import Site

_TIMEOUT: Final = 60.0  # seconds for a count
_MOST_FILES: Final = 1_000_000
_CLEARTEXT: Final = re.compile(rb'\["password"\] = ')
_ARCHIVES: Final = (".list", ".lidx")  # what Prosody's files of an archive end with, beside .dat


class StorageError(Exception):
    """One line: what cannot be counted, and why."""


def stores(site: Site) -> Probed:
    """Judge whether only allowed stores have rows."""
    try:
        counts = _rows(site) if site.database else _files(site.directory)
    except StorageError as error:
        return Probed("UNKNOWN", str(error))
    unexpected = {
        store: number
        for store, number in sorted(counts.items())
        if number and not any(fnmatchcase(store, pattern) for pattern in site.stores)
    }
    if unexpected:
        return Probed(
            "FAIL", ", ".join(f"{one_line(store)} has {number:,} rows" for store, number in unexpected.items())
        )
    if not any(counts.values()):
        return Probed("UNKNOWN", "there is nothing at all; is it Prosody's?")
    return Probed("ok")


def passwords(site: Site) -> Probed:
    """Judge whether every account's password is hashed."""
    try:
        if site.database:
            ((cleartext, hashed),) = _numbers(site.database, "SELECT cleartext, hashed FROM commeazy_passwords")
        else:
            cleartext, hashed = _account_files(site.directory)
    except StorageError as error:
        return Probed("UNKNOWN", str(error))
    if cleartext:
        return Probed("FAIL", f"{cleartext:,} accounts have their password in the clear")
    return Probed("ok") if hashed else Probed("UNKNOWN", "there is no account with a password")


def _rows(site: Site) -> dict[str, int]:
    # `name (archive)` is allowed where `name` is
    return {store: int(number) for store, number in _ask(site.database, "SELECT store, number FROM commeazy_stores")}


def _numbers(database: str, query: str) -> list[tuple[int, ...]]:
    return [tuple(map(int, row)) for row in _ask(database, query)]


def _ask(database: str, query: str) -> list[tuple[str, ...]]:
    """Let psql ask, PostgreSQL's own client, which finds the password by itself (libpq's password file)."""
    command = ["psql", "-X", "-w", "-A", "-t", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-c", query, "-d", database]
    environment = os.environ | {"PGCONNECT_TIMEOUT": "5"}
    try:
        done = subprocess.run(  # noqa: S603 - the operator's own connection string
            command, check=False, capture_output=True, text=True, timeout=_TIMEOUT, env=environment
        )
    except FileNotFoundError:
        raise StorageError("psql is not installed (Debian: postgresql-client)") from None
    except subprocess.TimeoutExpired:
        raise StorageError(f"the database did not count within {_TIMEOUT:g} s") from None
    if done.returncode:
        said = one_line(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "no answer")
        raise StorageError(f"the database cannot be asked: {said}")
    return [tuple(line.split("\t")) for line in done.stdout.splitlines()]


def _files(directory: Path | None) -> Mapping[str, int]:
    """Count the files of each store: DIRECTORY/HOST/STORE/USER.dat, with all names in percent-encoding."""
    found: Counter[str] = Counter()
    for path in _each(directory, "*/*/*"):
        archive = " (archive)" if path.suffix in _ARCHIVES else ""
        found[unquote(path.parent.name) + archive] += 1
    return found


def _account_files(directory: Path | None) -> tuple[int, int]:
    cleartext = hashed = 0
    for path in _each(directory, "*/accounts/*.dat"):
        try:
            if _CLEARTEXT.search(path.read_bytes()):
                cleartext += 1
            else:
                hashed += 1
        except OSError as error:
            raise StorageError(f"{directory}: cannot be read: {error.strerror}; run this as root") from None
    return cleartext, hashed


def _each(directory: Path | None, pattern: str) -> Iterable[Path]:
    if directory is None:
        raise StorageError("neither Prosody's database nor its directory is given")
    if not os.access(directory, os.R_OK | os.X_OK):
        raise StorageError(f"{directory}: cannot be read; run this on the node, as root")
    for number, path in enumerate(directory.glob(pattern)):
        if number >= _MOST_FILES:
            raise StorageError(f"{directory}: has more than {_MOST_FILES:,} files")
        if path.is_file():
            yield path
