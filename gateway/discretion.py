"""Keeps what callers and providers say out of the libraries' log lines.

aiohttp quotes a malformed request, hpack every header field.
"""

from __future__ import annotations

import logging

from aiohttp.http_exceptions import HttpProcessingError


class _WithoutQuotes(logging.Filter):
    """Tells of a request that is no HTTP, but not what was in it: a secret may be."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and isinstance(record.exc_info[1], HttpProcessingError):
            record.msg, record.args, record.exc_info = "malformed HTTP request", (), None
            record.levelno, record.levelname = logging.WARNING, "WARNING"
        return True


_FILTER = _WithoutQuotes()


def impose() -> None:
    """Make the libraries discreet; once is enough."""
    logging.getLogger("aiohttp.server").addFilter(_FILTER)
    logging.getLogger("hpack").setLevel(logging.INFO)
