"""Finds the program of a server: the installed one, or another version of it that an environment variable names."""

from __future__ import annotations

import os
import shutil


def program(name: str, *other_names: str) -> str:
    """Return what to run for a server.

    Args:
        name: of the program; in capitals and with underscores it is the environment variable that wins over PATH.
        other_names: what the program is called elsewhere; Debian adds `prometheus-` to some.
    """
    named = os.environ.get(name.upper().replace("-", "_"))
    return named or next((each for each in (name, *other_names) if shutil.which(each)), name)
