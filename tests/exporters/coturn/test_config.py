"""turnserver.conf is read as coturn reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from exporters.coturn.config import Cli, ConfigError, Configuration, LogPlace, load
from lab.running.workspace import ROOT

if TYPE_CHECKING:
    from pathlib import Path


def loaded(folder: Path, text: str) -> Configuration:
    path = folder / "turnserver.conf"
    path.write_text(text)
    return load(path)


def test_the_specified_file_switches_on_log_and_probes_but_neither_cli_nor_endpoint() -> None:
    config = load(ROOT / "lab/servers/coturn.section-13.conf")
    assert config.listeners == {"udp": 3478, "tcp": 3478, "tls": 5349}
    assert config.relay_ports == range(49152, 65536)
    assert config.secret
    assert config.total_quota == 100
    assert config.cli is None
    assert config.endpoint is None
    assert config.log is not None
    assert str(config.log.base) == "/var/log/turnserver/turn.log"
    assert config.log.dated


def test_a_comment_behind_a_value_is_part_of_the_value_and_reported() -> None:
    config = load(ROOT / "lab/servers/coturn.section-13.conf")
    assert config.commented == ("bps-capacity", "denied-peer-ip")
    assert config.options["denied-peer-ip"][0] == "10.0.0.0-10.255.255.255    # Voorkom relay naar intern netwerk"
    assert config.number("bps-capacity", 7) == 0


@pytest.mark.parametrize(
    ("line", "is_on"),
    [
        ("verbose", True),
        ("verbose=1", True),
        ("verbose on", True),
        ("verbose=0", False),
        ("verbose no", False),
        ("verbose=off", False),
        ("# verbose", False),
    ],
)
def test_a_switch_is_on_unless_it_says_no(tmp_path: Path, line: str, is_on: bool) -> None:  # noqa: FBT001 - a test's case
    assert loaded(tmp_path, line).flag("verbose") is is_on


def test_the_last_of_several_values_wins(tmp_path: Path) -> None:
    assert loaded(tmp_path, "total-quota=1\n total-quota = 2 \n").total_quota == 2


def test_the_cli_needs_a_password_and_a_hash_is_not_one(tmp_path: Path) -> None:
    assert loaded(tmp_path, "cli-password=word").cli == Cli("127.0.0.1", 5766, "word")
    assert loaded(tmp_path, "cli-password=$5$ab$cd\ncli-port=1").cli == Cli("127.0.0.1", 1, "")
    assert loaded(tmp_path, "cli-password=word\nno-cli").cli is None


def test_the_endpoint_is_where_it_was_put(tmp_path: Path) -> None:
    assert loaded(tmp_path, "prometheus").endpoint == "http://127.0.0.1:9641/metrics"
    text = "prometheus\nprometheus-address=::1\nprometheus-port=1\nprometheus-path=/m"
    assert loaded(tmp_path, text).endpoint == "http://[::1]:1/m"


def test_relay_addresses_are_those_coturn_understands(tmp_path: Path) -> None:
    config = loaded(tmp_path, "relay-ip=192.0.2.1\nrelay-ip=2001:db8::1\nrelay-ip=192.0.2.1\nrelay-ip=192.0.2.2 # no")
    assert config.relay_addresses == ("192.0.2.1", "2001:db8::1")
    assert not config.only_ipv6_relays


def test_without_a_relay_address_relays_are_at_those_it_listens_on(tmp_path: Path) -> None:
    assert loaded(tmp_path, "listening-ip=::1\nlistening-ip=::2").relay_addresses == ("::1", "::2")
    assert loaded(tmp_path, "listening-ip=::1").only_ipv6_relays
    assert loaded(tmp_path, "listening-ip=::1\nrelay-ip=192.0.2.1").relay_addresses == ("192.0.2.1",)
    for text in ("listening-ip=0.0.0.0", "listening-ip=::", ""):
        assert loaded(tmp_path, text).relay_addresses == ()
        assert not loaded(tmp_path, text).only_ipv6_relays


@pytest.mark.parametrize(
    ("line", "secret"),
    [
        ("static-auth-secret=abc", "abc"),
        ('static-auth-secret = "abc"', "abc"),
        ('static-auth-secret="a b "  ', "a b"),
        ('static-auth-secret="abc', "abc"),
        ('static-auth-secret=a"b"c', 'a"b"c'),
        ('static-auth-secret="', ""),
        ("static-auth-secret=abc=", "abc="),
        ("use-auth-secret", ""),
    ],
)
def test_the_secret_is_taken_as_coturn_takes_it(tmp_path: Path, line: str, secret: str) -> None:
    assert loaded(tmp_path, line).secret == secret


def test_a_minimum_alone_leaves_the_maximum_at_coturns_own(tmp_path: Path) -> None:
    assert loaded(tmp_path, "min-port=61000").relay_ports == range(61000, 65536)


def test_a_transport_that_is_off_is_not_probed(tmp_path: Path) -> None:
    assert loaded(tmp_path, "no-udp").listeners == {"tcp": 3478}
    assert loaded(tmp_path, "cert=c\npkey=p\nno-tcp").listeners == {"udp": 3478, "tls": 5349}


def test_there_is_no_log_to_follow_where_coturn_writes_none(tmp_path: Path) -> None:
    for text in ("log-file=/x.log", "verbose\nsyslog", "verbose\nlog-file=stdout"):
        assert loaded(tmp_path, text).log is None
    assert loaded(tmp_path, "Verbose").log == LogPlace(None, dated=True)


def test_a_file_that_cannot_be_used_is_one_line_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*missing.conf: No such file"):
        load(tmp_path / "missing.conf")
    with pytest.raises(ConfigError, match="min-port is above max-port"):
        loaded(tmp_path, "min-port=10\nmax-port=9")
