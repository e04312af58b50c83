"""The program `push-gateway`: reads the settings from the environment, then runs `service` until a signal stops it."""

from __future__ import annotations

import os
import sys

from gateway import service
from gateway.settings import SettingsError, read
from toolkit import logs
from toolkit.documents import ConfigError


def main() -> int:
    """Console script; returns the exit code."""
    try:
        settings = read(os.environ)
        logs.setup(settings.log_level, "logfmt")
        return service.run(settings)
    except SettingsError as error:
        print(f"push-gateway: {error}", file=sys.stderr)  # noqa: T201 - the one line for a person
        return error.code
    except ConfigError as error:
        print(f"push-gateway: METRICS_WEB_CONFIG_FILE: {error}", file=sys.stderr)  # noqa: T201 - as above
        return 2


if __name__ == "__main__":
    sys.exit(main())
