"""Opens the regular files that an operator names. It never waits, as opening a FIFO without a writer would."""

from __future__ import annotations

import errno
import os
import stat
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_MOST_BYTES = 4 << 20  # of a configuration or a list of passwords


def opened(path: Path, buffering: int = -1) -> IO[bytes]:
    """Open a regular file for reading.

    Args:
        path: of the file.
        buffering: as of `open`.

    Raises:
        OSError: it cannot be opened, or is a folder, a FIFO or a device.
        ValueError: the path holds a NUL.
    """
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return os.fdopen(number, "rb", buffering=buffering)


def content(path: Path, errors: str = "strict") -> str:
    """Return a file's text.

    Args:
        path: of the file.
        errors: what to do with bytes that are not UTF-8, as of `bytes.decode`.

    Raises:
        OSError: as `opened`, or the file is above 4 MiB.
        ValueError: it is not UTF-8 (UnicodeDecodeError), or as `opened`.
    """
    with opened(path) as file:
        data = file.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise OSError(errno.EFBIG, f"above {_MOST_BYTES >> 20} MiB", str(path))
    return data.decode("utf-8", errors)
