"""One line per log record on standard error, as logfmt or JSON. The caller decides what is logged, and how often."""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import Any

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}
_NAMES = {number: name for name, number in LEVELS.items()} | {logging.CRITICAL: "error"}
_PLAIN = re.compile(r"[!#-<>-\[\]-~]+")  # ASCII that needs no quotes: without space, quote, equals sign and backslash
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": _NAMES.get(record.levelno, record.levelname.lower()),
        "logger": record.name,
        "msg": record.getMessage(),
    }
    fields |= {key: value for key, value in vars(record).items() if key not in _STANDARD}
    if record.exc_info:
        fields["traceback"] = logging.Formatter().formatException(record.exc_info)
    return fields


class Logfmt(logging.Formatter):
    """`ts=… level=… logger=… msg="…"` and the record's extra fields, always on one line."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, without its end."""
        return " ".join(f"{key}={_quoted(value)}" for key, value in _fields(record).items())


class Json(logging.Formatter):
    """One JSON object per record, with the same keys."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, without its end."""
        return json.dumps(_fields(record), default=str)


FORMATS: dict[str, type[logging.Formatter]] = {"logfmt": Logfmt, "json": Json}


def setup(level: str, style: str) -> None:
    """Send every logger of the process to standard error.

    Args:
        level: a key of LEVELS.
        style: a key of FORMATS.
    """
    # What no line shows costs each line CPU (Python's "Logging HOWTO", Optimization).
    logging._srcfile = None  # noqa: SLF001 - as that page says
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(FORMATS[style]())
    logging.basicConfig(level=LEVELS[level], handlers=[handler], force=True)
    logging.captureWarnings(capture=True)  # otherwise Python writes them to standard error itself, in two lines


def _quoted(value: object) -> str:
    text = str(value)
    if _PLAIN.fullmatch(text):
        return text
    if not text.isprintable():
        return json.dumps(text)
    if text and not set(text) & set(' ="\\'):
        return text
    return json.dumps(text, ensure_ascii=False)
