"""Writes metrics for node_exporter's textfile collector, in one step, so that it never reads half a file."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class TextfileError(Exception):
    """One line: which file cannot be written, and why."""


def gauge(name: str, about: str, samples: Iterable[tuple[Mapping[str, str], float]]) -> str:
    """Return one family as text; "" if it has no samples."""
    rows = []
    for labels, value in samples:
        inner = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        rows.append(f"{name}{{{inner}}} {value:.17g}\n" if inner else f"{name} {value:.17g}\n")
    return f"# HELP {name} {about}\n# TYPE {name} gauge\n{''.join(rows)}" if rows else ""


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def write(path: Path, text: str) -> None:
    """Replace the file.

    Raises:
        TextfileError: it cannot be written, or its name does not end in `.prom`, so that nobody would read it.
    """
    if path.suffix != ".prom":
        raise TextfileError(f"--textfile {path}: its name must end in .prom; node_exporter reads no other")
    try:
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".commeazy-", delete=False) as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new = Path(file.name)
        new.chmod(0o644)  # node_exporter has an account of its own
        new.replace(path)
    except OSError as error:
        raise TextfileError(f"--textfile {path}: cannot be written: {error.strerror}; see folder and disk") from None
