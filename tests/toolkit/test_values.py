"""What an operator may write for an address, a duration, seconds or a URL, and that anything else is one line."""

from __future__ import annotations

from argparse import ArgumentTypeError

import pytest

from toolkit.values import Address, duration, is_host_name, seconds


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("500ms", 0.5),
        ("10s", 10),
        ("1.5s", 1.5),
        ("90s", 90),
        ("1m", 60),
        ("1h30m", 5400),
        ("2d", 172800),
        ("1d1h1m1s1ms", 90061.001),
    ],
)
def test_a_duration_is_read_as_prometheus_writes_it(text: str, value: float) -> None:
    assert duration(text) == value


@pytest.mark.parametrize(
    "text", ["", "0s", "10", "s", "-1s", "1m1h", "1s1s", "1.5m", "1,5s", "1 s", "1s\n", "٣s", "inf", "nan", "9" * 5000]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="is not a duration; write 500ms, 10s, 1m or 1h30m"):
        duration(text)


def test_no_time_at_all_is_a_duration_only_where_it_is_allowed() -> None:
    assert duration("0s", zero=True) == duration("0h", zero=True) == 0
    with pytest.raises(ArgumentTypeError):
        duration("", zero=True)


@pytest.mark.parametrize(("text", "value"), [("2.5", 2.5), ("3600", 3600), ("2s", 2), ("1h", 3600), ("100ms", 0.1)])
def test_seconds_are_a_number_or_a_duration(text: str, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["0", "3601", "2h", "-1", "1e3", "nan", "inf", "", "٣", "9" * 5000])
def test_seconds_above_an_hour_or_not_above_zero_are_refused(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="is not a number of seconds above 0"):
        seconds(text)


@pytest.mark.parametrize("text", [":9871", "127.0.0.1:9871", "[::1]:9871", "localhost:0"])
def test_an_address_is_shown_as_it_was_written(text: str) -> None:
    assert str(Address.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "right"),
    [
        *((text, True) for text in ("a", "xmpp.commeazy.com", "_xmpp.a", "10.0.0.1", "xn--mnchen-3ya.de", "a" * 63)),
        *((text, False) for text in ("", "a..b", ".a", "a.", "-a", "a-", "é", "::1", "a" * 64, "a." * 127 + "a")),
    ],
)
def test_what_may_be_a_host_name(text: str, right: bool) -> None:  # noqa: FBT001 - a case of the table
    assert is_host_name(text) is right


@pytest.mark.parametrize("text", [":65536", ":" + "9" * 5000, "::1:9871", "9871", "a:b", ":-1", ":٣", ""])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="is not an address"):
        Address.parse(text)
