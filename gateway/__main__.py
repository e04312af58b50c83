"""The program `push-gateway`: settings from the environment, then `service` until it is told to stop."""

from __future__ import annotations

import asyncio
import os
import sys

from gateway.service import ListenError, serve
from gateway.settings import SettingsError, read
from toolkit import logs


def main() -> int:
    """Console script; returns the exit code."""
    try:
        settings = read(os.environ)
        logs.setup(settings.log_level, "logfmt")
        asyncio.run(serve(settings))
    except SettingsError as error:
        print(f"push-gateway: {error}", file=sys.stderr)  # noqa: T201 - the one line for a person
        return error.code
    except ListenError as error:
        print(f"push-gateway: {error}", file=sys.stderr)  # noqa: T201 - the one line for a person
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
