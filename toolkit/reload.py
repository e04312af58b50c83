"""Reloads the configuration on SIGHUP: all or nothing for each part, with metrics about the result."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily

from toolkit.documents import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client.core import Metric

_log = logging.getLogger(__name__)


class Reload:
    """What SIGHUP does.

    Args:
        parts: each reads one part of the configuration again, or raises ConfigError and keeps the old one. A bug in
            one is handled like a wrong file.

    Attributes:
        successful: whether every part accepted its file the last time; true at the start, where a wrong file ends the
            program.
        loaded_at: when the configuration was last read without an error, in seconds since 1970.
    """

    def __init__(self, *parts: Callable[[], None]) -> None:
        self._parts = parts
        self.successful = True
        self.loaded_at = time.time()

    def __call__(self) -> None:
        """Read every part again; log one line for each part that is wrong, or one line if all are accepted."""
        self.successful = True
        for part in self._parts:
            try:
                part()
            except ConfigError as error:
                self.successful = False
                _log.error("the configuration is not reloaded, the old one stays in force: %s", error)
            except Exception:  # noqa: BLE001 - a bug of ours must not end the program that runs well
                self.successful = False
                _log.exception("a bug in reading the configuration, the old one stays in force; please report it")
        if self.successful:
            self.loaded_at = time.time()
            _log.info("configuration reloaded" if self._parts else "nothing to reload: there is no configuration file")

    def families(self, prefix: str) -> list[Metric]:
        """Return the metrics about reloads.

        Args:
            prefix: of their names, e.g. "coturn_exporter".
        """
        return [
            GaugeMetricFamily(
                f"{prefix}_config_last_reload_successful",
                "1 if the last reload of the configuration was accepted; 0: a file is wrong, the old one is in force.",
                float(self.successful),
            ),
            GaugeMetricFamily(
                f"{prefix}_config_last_reload_success_timestamp_seconds",
                "When the configuration was last read without an error, in seconds since 1970.",
                self.loaded_at,
            ),
        ]
