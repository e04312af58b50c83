"""synthetic.yml: what an operator may write, and the one line for what is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from exporters.synthetic.__main__ import main
from exporters.synthetic.config import INTERVALS, load
from exporters.synthetic.journeys import MESSAGE_DEADLINE
from exporters.synthetic.runner import places
from lab.running.workspace import ROOT
from toolkit.documents import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

GOOD = """\
domain: commeazy.com
door: wss://xmpp.commeazy.com/xmpp-websocket
nodes: [prosody1, prosody2]
passwords_file: passwords
coturn:
  - {name: coturn1, host: turn1.commeazy.com}
"""
ACCOUNTS = ("synthetic-sender", "synthetic-prosody1", "synthetic-prosody2", "synthetic-any")
SECRET = "s3cret"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "passwords").write_text("".join(f"{name} {SECRET}-{name}\n" for name in ACCOUNTS))
    return tmp_path


def wrong(folder: Path, text: str) -> str:
    file = folder / "synthetic.yml"
    file.write_text(text)
    with pytest.raises(ConfigError) as raised:
        load(file)
    return str(raised.value).replace(f"{folder}/", "")


def test_a_small_file_says_everything(folder: Path) -> None:
    (folder / "synthetic.yml").write_text(GOOD)
    settings = load(folder / "synthetic.yml")
    assert [node.name for node in settings.nodes] == ["prosody1", "prosody2", "any"]
    assert [node.chosen for node in settings.nodes] == [True, True, False]
    assert settings.nodes[0].server_name == "xmpp.commeazy.com"
    assert settings.passwords["synthetic-any"] == f"{SECRET}-synthetic-any"
    assert settings.relays[0].transports == ("udp", "tcp", "tls")
    assert settings.intervals["message"] == 15
    assert SECRET not in repr(settings)


def test_every_pair_is_measured_unless_the_operator_expects_none(folder: Path) -> None:
    def pairs(text: str) -> set[tuple[str, str]]:
        (folder / "synthetic.yml").write_text(text)
        return {place[1:] for place in places(load(folder / "synthetic.yml")) if place.journey == "message"}

    same = {("prosody1", "prosody1"), ("prosody2", "prosody2"), ("any", "any")}
    assert pairs(GOOD) == same | {("prosody1", "prosody2"), ("prosody2", "prosody1")}
    assert pairs(GOOD + "cross_node: not_expected\n") == same


def test_nodes_may_have_doors_of_their_own_and_then_there_is_no_door_that_chooses(folder: Path) -> None:
    text = """\
domain: commeazy.com
nodes:
  - {name: prosody1, door: 'wss://prosody1.commeazy.com/ws'}
  - {name: prosody2, door: 'wss://prosody2.commeazy.com/ws', server_name: xmpp.commeazy.com}
passwords_file: passwords
"""
    (folder / "synthetic.yml").write_text(text)
    nodes = load(folder / "synthetic.yml").nodes
    assert [(node.name, node.server_name, node.chosen) for node in nodes] == [
        ("prosody1", "prosody1.commeazy.com", False),
        ("prosody2", "xmpp.commeazy.com", False),
    ]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (("domain: commeazy.com\n", ""), "synthetic.yml:1: the file: domain must be given, as one value"),
        (("commeazy.com\n", "commeazy..com\n"), "domain is 'commeazy..com', which is neither a host name nor"),
        (("wss://", "https://"), "synthetic.yml:2: the file: door is not a URL; write wss://"),
        (("wss://", "wss://me:word@"), "door has credentials in it"),
        (("door: wss://xmpp.commeazy.com/xmpp-websocket\n", ""), "nodes are names only, so `door` must be given"),
        (("[prosody1, prosody2]", "[prosody1, prosody1]"), "nodes has 'prosody1' twice"),
        (("[prosody1, prosody2]", "[prosody1, any]"), "nodes has 'any'; write small letters"),
        (("[prosody1, prosody2]", "[Prosody1]"), "nodes has 'Prosody1'; write small letters"),
        (("[prosody1, prosody2]", "[{name: prosody1, door: 'ws://a/'}]"), "door is given for all nodes already"),
        (("nodes:", "node:"), "the file has no key 'node'; did you mean 'nodes'?"),
        (("passwords_file: passwords", "passwords_file: nothing"), "nothing: No such file or directory; check the"),
        (("passwords_file: passwords", "passwords_file: $CREDENTIALS_DIRECTORY/p"), "needs the environment variable"),
        (("host: turn1", "host: turn!1"), "coturn 'coturn1': host is 'turn!1.commeazy.com', which is neither"),
        (("coturn1,", "coturn1, port: 70000,"), "coturn 'coturn1': port is '70000', which is not a port"),
        (("coturn1,", "coturn1, ports: 1,"), "coturn 'coturn1' has no key 'ports'; did you mean 'port'?"),
    ],
)
def test_what_is_wrong_is_one_line_with_its_place(folder: Path, change: tuple[str, str], line: str) -> None:
    text = wrong(folder, GOOD.replace(*change, 1))
    assert line in text
    assert "\n" not in text
    assert "word" not in text.replace("passwords", "")


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ("cross_node: maybe\n", "synthetic.yml:7: the file: cross_node is 'maybe'; write required or not_expected"),
        ("account_prefix: probe-\n", "account_prefix is 'probe-'; write synthetic- or, for a second exporter"),
        ("vantage: A B\n", "vantage is 'A B'; write up to 40 small letters"),
        ("intervals: {message: 0.5s}\n", "intervals: message is 0.5s; from 1s to 3600s is possible"),
        ("intervals: {message: 2h}\n", "intervals: message is 7200s; from 1s to 3600s is possible"),
        ("intervals: {message: soon}\n", "intervals: message is wrong: 'soon' is not a duration"),
        ("intervals: {messages: 15s}\n", "intervals has no key 'messages'; did you mean 'message'?"),
    ],
)
def test_an_impossible_setting_is_one_line_with_its_place(folder: Path, more: str, line: str) -> None:
    assert line in wrong(folder, GOOD + more)


def test_no_file_can_make_it_a_burden_to_the_servers(folder: Path) -> None:
    nodes = [f"node{number}" for number in range(12)]
    with (folder / "passwords").open("a") as file:
        file.writelines(f"synthetic-{name} {SECRET}\n" for name in nodes)
    text = GOOD.replace("prosody1, prosody2", ", ".join(nodes))
    assert "intervals make 145.0 messages a second; at most 20 are allowed" in wrong(
        folder, text + "intervals: {message: 1s}\n"
    )
    hasty = "intervals: {login: 5s, presence: 5s, resume: 5s, force_quit: 10s, vanish: 10s}\n"
    assert "logins a second; at most 3 are allowed" in wrong(folder, text + hasty)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (f"synthetic-sender {SECRET}\n", "has no password for synthetic-prosody1, synthetic-prosody2, synthetic-any"),
        (f"synthetic-sender\n{SECRET}", "passwords:1: must hold an account, a space, and its password"),
        (f"a {SECRET}\na {SECRET}\n", "passwords:2: holds an account that an earlier line has, too"),
    ],
)
def test_a_wrong_file_of_passwords_is_one_line_without_any(folder: Path, lines: str, said: str) -> None:
    (folder / "passwords").write_text(lines)
    text = wrong(folder, GOOD)
    assert said in text
    assert SECRET not in text


def test_the_shipped_file_is_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    accounts = ("sender", "prosody1", "prosody2", "prosody3", "any")
    (tmp_path / "synthetic-passwords").write_text("".join(f"synthetic-{name} {SECRET}\n" for name in accounts))
    settings = load(ROOT / "deploy" / "synthetic.yml")
    assert settings.cross_node
    assert len(settings.relays) == 3


def test_the_program_ends_with_2_and_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "synthetic.yml").write_text("domain: [\n")
    assert main([f"--config.file={folder}/synthetic.yml"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    (folder / "synthetic.yml").write_text(GOOD + "ca: passwords\n")
    assert main([f"--config.file={folder}/synthetic.yml"]) == 2
    said = capsys.readouterr().err
    assert "holds no usable PEM certificate" in said
    assert len(said.splitlines()) == 1


def test_a_dead_node_is_reported_within_twenty_seconds_at_the_default_interval() -> None:
    longest_pause, _, _ = INTERVALS["message"]
    assert longest_pause + MESSAGE_DEADLINE <= 20
