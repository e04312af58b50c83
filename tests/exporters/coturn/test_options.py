"""Options are read as coturn reads them; that it does is tested on real ones in tests/live."""

from __future__ import annotations

import pytest

from exporters.coturn.options import comment, config_file, in_file, on_command_line


@pytest.mark.parametrize(
    ("words", "options"),
    [
        (["-p", "4"], [("listening-port", "4")]),
        (["-p4"], [("listening-port", "4")]),
        (["-vp4"], [("verbose", ""), ("listening-port", "4")]),
        (["-nvo"], [("verbose", ""), ("daemon", "")]),
        (["--listening-port=4"], [("listening-port", "4")]),
        (["--listening-port", "4"], [("listening-port", "4")]),
        (["--listening-p", "4"], [("listening-port", "4")]),
        (["--verbose", "--no-tcp=0"], [("verbose", ""), ("no-tcp", "0")]),
        (["--verbose", "4", "-v"], [("verbose", ""), ("verbose", "")]),
        (["--stale-nonce", "-v"], [("stale-nonce", ""), ("verbose", "")]),
        (["--pidfile="], [("pidfile", "")]),
        (["-c", "a.conf", "-l", "-v"], [("log-file", "-v")]),
        (["stray", "--unknown", "--unknown=1", "-?", "-v"], [("verbose", "")]),
        (["--", "-v"], []),
        (["-p"], [("listening-port", "")]),
        (["--listening-port"], [("listening-port", "")]),
        ([], []),
    ],
)
def test_a_command_line_is_read_as_getopt_does(words: list[str], options: list[tuple[str, str]]) -> None:
    assert on_command_line(words) == options


@pytest.mark.parametrize(
    ("words", "file"),
    [
        ([], ""),
        (["-c", "a"], "a"),
        (["-c", "a", "-c", "b"], "b"),
        (["-c"], ""),
        (["-c", "a", "-n"], None),
        (["-nv"], ""),
    ],
)
def test_the_file_is_the_one_behind_the_last_c(words: list[str], file: str | None) -> None:
    assert config_file(words) == file


def test_a_line_may_have_spaces_quotes_and_windows_line_ends() -> None:
    text = ' a = b \r\n#c=d\ne\n\nf\t"g h" \n\x0bi\u2028j=1'
    assert list(in_file(text)) == [(1, "a", "b"), (3, "e", ""), (5, "f", "g h"), (6, "i\u2028j", "1")]


@pytest.mark.parametrize(
    ("line", "effect"),
    [
        ("lt-cred-mech # only on", "does not start"),
        ("verbose # on", "does not start"),
        ("verbose=on # yes", "does not start"),
        ("verbose=1 # yes", ""),
        ("verbose=no # yes", ""),
        ("use-auth-secret # yes", ""),
        ("user-quota=12 # each", ""),
        ("user-quota= # 12", "part of the value"),
        ("bps-capacity=0          # none", ""),
        ("listening-port=3478 # default", "4.13 and newer"),
        ("denied-peer-ip=10.0.0.0-10.255.255.255 # inside", "before 4.11 ignores"),
        ("allowed-peer-ip=10.0.0.1 # inside", "before 4.11 ignores"),
        ("realm=a # b", "part of the value"),
        ("static-auth-secret=a#b", ""),
        ("unknown=a # b", ""),
    ],
)
def test_a_comment_is_named_where_it_changes_what_coturn_does(line: str, effect: str) -> None:
    ((place, name, value),) = in_file(line)
    found = comment(name, value, place)
    assert effect in found.effect if found else effect == ""
    assert (found is None) == (effect == "")
