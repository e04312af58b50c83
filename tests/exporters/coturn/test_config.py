"""turnserver.conf is read as coturn reads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporters.coturn.config import Cli, Configuration, CoturnConfigError, LogPlace, load
from lab.running.workspace import ROOT


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
    assert [(comment.option, comment.line) for comment in config.comments] == [("denied-peer-ip", 31)]
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
    for text, why in (
        ("log-file=/x.log", "verbose is off"),
        ("verbose\nsyslog", "syslog"),
        ("verbose\nlog-file=syslog", "syslog"),
        ("verbose\nlog-file=stdout", "standard output"),
        ("verbose\nlog-file=-", "standard output"),
        ("verbose\nlog-file=/dev/stdout", "a device"),
        ("verbose\nlog-file=/proc/self/fd/1", "a device"),
        ("verbose\nlog-min-level=warning", "log-min-level"),
    ):
        config = loaded(tmp_path, text)
        assert config.log is None
        assert why in config.log_missing
    assert loaded(tmp_path, "Verbose").log == LogPlace(None, dated=True)


def test_a_file_that_cannot_be_used_is_one_line_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(CoturnConfigError, match=r"cannot read .*missing.conf: No such file"):
        load(tmp_path / "missing.conf")
    with pytest.raises(CoturnConfigError, match="min-port is above max-port"):
        loaded(tmp_path, "min-port=10\nmax-port=9")
    with pytest.raises(CoturnConfigError, match="embedded null"):
        load(tmp_path / "a\0b")


@pytest.mark.parametrize("option", ["min-port", "max-port", "listening-port", "tls-listening-port", "cli-port"])
@pytest.mark.parametrize("port", ["70000", "0", "9" * 5000])
def test_a_port_that_does_not_exist_is_one_line_that_names_it(tmp_path: Path, option: str, port: str) -> None:
    with pytest.raises(CoturnConfigError, match=f"{option}={port[:9]} is no port") as told:
        loaded(tmp_path, f"{option}={port}")
    assert "\n" not in str(told.value)


def test_the_command_line_wins_over_the_file_except_for_the_log(tmp_path: Path) -> None:
    path = tmp_path / "turnserver.conf"
    path.write_text("listening-port=1\nlog-file=/file.log\nlistening-ip=192.0.2.1\n")
    command = ["-c", str(path), "-p", "2", "-v", "-l", "/command.log", "--listening-ip=192.0.2.2", "--pidfile="]
    config = load(path, command)
    assert config.listeners["udp"] == 2
    assert config.log == LogPlace(Path("/file.log"), dated=True)
    assert config.options["listening-ip"] == ("192.0.2.1", "192.0.2.2")


def test_with_n_on_the_command_line_the_file_is_not_read(tmp_path: Path) -> None:
    config = load(tmp_path / "missing", ["-n", "-v", "--log-file", "turn.log", "--simple-log"], tmp_path)
    assert config.log == LogPlace(tmp_path / "turn.log", dated=False)
    assert config.listeners == {"udp": 3478, "tcp": 3478}


def test_every_port_coturn_may_listen_on_is_its_own(tmp_path: Path) -> None:
    own = loaded(tmp_path, "listening-port=50000\naux-server=192.0.2.1:50010\ntcp-proxy-port=50020").own_ports
    assert {50000, 50001, 5349, 5350, 50010, 50020, 5766, 8080, 9641} <= own
    assert 50001 not in loaded(tmp_path, "listening-port=50000\nno-rfc5780").own_ports
    assert 50005 in loaded(tmp_path, "listening-port=50000\nalt-listening-port=50005").own_ports


@pytest.mark.parametrize(
    ("text", "udp", "tls"),
    [
        ("static-auth-secret=s", ("stun", "turn"), ("stun", "turn")),
        ("static-auth-secret=s\nno-stun", ("turn",), ("turn",)),
        ("static-auth-secret=s\nstun-only", ("stun",), ("stun",)),
        ("static-auth-secret=s\nno-udp-relay", ("stun",), ("stun", "turn")),
        ("static-auth-secret=s\nsecure-stun", ("stun", "turn"), ("stun", "turn")),
        ("lt-cred-mech\nsecure-stun", (), ()),
        ("lt-cred-mech", ("stun",), ("stun",)),
        ("no-auth", ("stun", "turn"), ("stun", "turn")),
    ],
)
def test_only_what_a_client_can_expect_is_probed(
    tmp_path: Path, text: str, udp: tuple[str, ...], tls: tuple[str, ...]
) -> None:
    config = loaded(tmp_path, text)
    assert config.probes("udp") == udp
    assert config.probes("tls") == tls


def test_relays_have_the_protocols_that_coturn_gives_to_its_clients(tmp_path: Path) -> None:
    assert loaded(tmp_path, "").relay_protocols == ("udp", "tcp")
    assert loaded(tmp_path, "no-tcp").relay_protocols == ("udp",), "TCP relays are for clients that come over TCP"
    assert loaded(tmp_path, "no-tcp-relay").relay_protocols == ("udp",)
    assert loaded(tmp_path, "no-udp-relay").relay_protocols == ("tcp",)
