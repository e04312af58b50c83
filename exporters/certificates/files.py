"""Reads certificates from files, with globs, symlinks and files that are being replaced. It judges nothing."""

from __future__ import annotations

import asyncio
import glob
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from exporters.certificates.certificate import Certificate, Contents, parse_file
from toolkit.files import opened
from toolkit.scrape import TargetError

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_FILES = 200  # of one target
MAX_BYTES = 1 << 20  # of one file; the CA bundle of Debian has a quarter of it
MAX_CERTIFICATES = 300  # of one file; Debian's bundle has 140
_ATTEMPTS = 4
_PAUSE = 0.05  # seconds; a renewal writes its few kilobytes in far less

# Not asyncio's own threads: they resolve names, and a resolver that hangs must not block the reading of files.
_threads = ThreadPoolExecutor(4, thread_name_prefix="certificate-files")


async def read_files(patterns: Sequence[str]) -> dict[Path, Contents | TargetError]:
    """Read every file the patterns match, each once even if several paths lead to it.

    Returns the content of each, or why it could not be read. Raises TargetError("no_file") if a pattern matches nothing
    and "too_many_files" if they match more than MAX_FILES.
    """
    return await asyncio.get_running_loop().run_in_executor(_threads, _read_files, patterns)


async def read_leaf(path: Path) -> Certificate:
    """Read the first certificate of a file; raises TargetError."""
    contents = await asyncio.get_running_loop().run_in_executor(_threads, read_file, path)
    if not contents.leaf_readable:
        raise TargetError("bad_file", f"{path}: its first certificate cannot be read")
    return contents.certificates[0]


def _read_files(patterns: Sequence[str]) -> dict[Path, Contents | TargetError]:
    found: dict[str, Path] = {}
    for pattern in patterns:
        # A path without wildcards is read even if missing, so that the reason is the system's own.
        matches = glob.glob(pattern) if glob.has_magic(pattern) else [pattern]  # noqa: PTH207 - Path.glob takes no absolute pattern
        if not matches:
            raise TargetError("no_file", f"nothing matches {pattern}, or a folder on the way may not be read")
        for match in sorted(matches):
            found.setdefault(os.path.realpath(match), Path(match))
            if len(found) > MAX_FILES:
                raise TargetError("too_many_files", f"more than {MAX_FILES} files match; split the target")
    contents: dict[Path, Contents | TargetError] = {}
    for path in found.values():
        try:
            contents[path] = read_file(path)
        except TargetError as error:
            contents[path] = error
    return contents


def read_file(path: Path) -> Contents:
    """Read every certificate of a file, again if it was replaced or half written meanwhile.

    Raises:
        TargetError: with the path in its text; "no_file", "unreadable_file", "too_large_file", or parse_file's.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        before = _mark(path)
        data = _read(path)
        try:
            contents = parse_file(data, at_most=MAX_CERTIFICATES)
        except TargetError as error:
            if attempt == _ATTEMPTS:
                raise TargetError(error.reason, f"{path}: {error}") from None
        else:
            if _mark(path) == before and (attempt == _ATTEMPTS or not contents.unreadable):
                return contents
        time.sleep(_PAUSE)
    raise TargetError("bad_file", f"{path}: it kept changing while it was read")


def _mark(path: Path) -> tuple[int, int, int]:
    try:
        status = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _read(path: Path) -> bytes:
    try:
        with opened(path) as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise _unreadable(path, error) from None
    if len(data) > MAX_BYTES:
        raise TargetError("too_large_file", f"{path}: above {MAX_BYTES} bytes, so hardly a certificate")
    return data


def _unreadable(path: Path, error: OSError) -> TargetError:
    reason = "no_file" if isinstance(error, FileNotFoundError) else "unreadable_file"
    return TargetError(reason, f"{path}: {error.strerror}; check the path, and the rights of the exporter's user")
