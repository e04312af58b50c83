"""The common command line, and the log lines it sets up."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from toolkit import __version__, cli, logs
from toolkit.values import Address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (":9871", Address("", 9871)),
        ("127.0.0.1:9871", Address("127.0.0.1", 9871)),
        ("[::1]:9871", Address("::1", 9871)),
        ("localhost:0", Address("localhost", 0)),
    ],
)
def test_addresses_are_read_as_prometheus_writes_them(text: str, address: Address) -> None:
    args = cli.parser("demo-exporter", "A demo.", ":1").parse_args(["--web.listen-address", text])
    assert args.listen_addresses == [address]


def test_defaults() -> None:
    args = cli.parser("demo-exporter", "A demo.", ":9871").parse_args([])
    assert args.listen_addresses == [Address("", 9871)]
    assert (args.web_config, args.log_level, args.log_format) == (None, "info", "logfmt")


def test_repeated_addresses_replace_the_default() -> None:
    parser = cli.parser("demo-exporter", "A demo.", ":9871")
    args = parser.parse_args(["--web.listen-address=:1", "--web.listen-address=:2", "--web.config.file=web.yml"])
    assert args.listen_addresses == [Address("", 1), Address("", 2)]
    assert args.web_config == Path("web.yml")
    assert parser.parse_args([]).listen_addresses == [Address("", 9871)]


@pytest.mark.parametrize(
    "flags",
    [
        ["--web.listen-address=9871"],
        ["--web.listen-address=::1:9871"],
        ["--web.listen-address=:65536"],
        ["--web.listen-address=:-1"],
        ["--web.listen-address=:http"],
        ["--web.listen-address=:²"],
        ["--web.listen-address"],
        ["--web.listen=:1"],
        ["--log.level=loud"],
        ["--log.format=xml"],
        ["--nonsense"],
        ["stray"],
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.parser("demo-exporter", "A demo.", ":1").parse_args(flags)
    assert ended.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("demo-exporter: ")


def test_version_names_program_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.parser("demo-exporter", "A demo.", ":1").parse_args(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"demo-exporter, version {__version__}\n"


def record(message: str, **fields: object) -> logging.LogRecord:
    return logging.makeLogRecord(
        {"name": "demo", "levelno": logging.WARNING, "levelname": "WARNING", "msg": message, "created": 0.25, **fields}
    )


def test_logfmt_has_the_known_keys_and_the_extra_ones() -> None:
    line = logs.Logfmt().format(record("it broke", reason="refused", count=3))
    assert line == 'ts=1970-01-01T00:00:00.250Z level=warn logger=demo msg="it broke" reason=refused count=3'


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("plain", "plain"),
        ("", '""'),
        ("a b", '"a b"'),
        ("a=b", '"a=b"'),
        ('say "hi"', r'"say \"hi\""'),
        ("back\\slash", r'"back\\slash"'),
        ("two\nlines", r'"two\nlines"'),
        ("\x1b[31mred", r'"\u001b[31mred"'),
        ("line\u2028separator", r'"line\u2028separator"'),
        ("één", "één"),
    ],
)
def test_logfmt_quotes_what_would_break_the_line(value: str, written: str) -> None:
    assert logs.Logfmt().format(record("m", field=value)).endswith(f" field={written}")


@pytest.mark.parametrize("style", ["logfmt", "json"])
def test_a_traceback_stays_on_the_line(style: str, capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    root.handlers.clear()
    try:
        logs.setup("info", style)
        try:
            int("inner")
        except ValueError:
            logging.getLogger("demo").exception("outer")
        logging.getLogger("demo").debug("below the level")
    finally:
        root.handlers[:] = before
        root.setLevel(level)
    [line] = capsys.readouterr().err.splitlines()
    assert "ValueError: invalid literal" in line


def test_json_is_one_object_with_the_same_keys() -> None:
    line = logs.Json().format(record('say "hi"\n', reason="refused", path=Path("/x")))
    assert "\n" not in line
    assert json.loads(line) == {
        "ts": "1970-01-01T00:00:00.250Z",
        "level": "warn",
        "logger": "demo",
        "msg": 'say "hi"\n',
        "reason": "refused",
        "path": "/x",
    }
