"""certificates.yml: what it means, and what it says to an operator who made a mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporters.certificates.config import KINDS, Target, load
from toolkit.documents import ConfigError
from toolkit.values import Address

ROOT = Path(__file__).resolve().parents[3]


def read(tmp_path: Path, text: str) -> tuple[Target, ...]:
    path = tmp_path / "certificates.yml"
    path.write_text(text)
    return load(path)


def one(tmp_path: Path, **keys: str) -> Target:
    lines = "".join(f"\n    {key}: {value}" for key, value in keys.items())
    (target,) = read(tmp_path, f"targets:\n  - name: it{lines}\n")
    return target


def test_the_shipped_file_holds_the_endpoints_of_the_specification() -> None:
    targets = load(ROOT / "deploy" / "certificates.yml")
    assert {target.kind for target in targets} == set(KINDS)
    assert [target.address.port for target in targets if target.address] == [443, 5222, 5269, 5349, 5432]
    assert not any("archive" in path for target in targets for path in target.paths)


def test_what_is_not_said_follows_from_the_address(tmp_path: Path) -> None:
    target = one(tmp_path, kind="tls", address="xmpp.commeazy.com:443")
    assert target == Target("it", "tls", Address("xmpp.commeazy.com", 443), "xmpp.commeazy.com", ("xmpp.commeazy.com",))


def test_an_ip_address_is_no_server_name_but_a_host_name(tmp_path: Path) -> None:
    target = one(tmp_path, kind="tls", address="'[::1]:443'")
    assert (target.server_name, target.host_names) == ("", ("::1",))


def test_everything_can_be_said(tmp_path: Path) -> None:
    target = one(
        tmp_path,
        kind="xmpp-client",
        address="10.0.1.10:5222",
        server_name="commeazy.com",
        host_names="[commeazy.com, xmpp.commeazy.com]",
        ca="ca.pem",
        timeout="500ms",
        file="/etc/cert.pem",
    )
    assert target.host_names == ("commeazy.com", "xmpp.commeazy.com")
    assert (target.ca, target.file) == (tmp_path / "ca.pem", Path("/etc/cert.pem"))
    assert target.timeout == 0.5


TLS = "{name: a, kind: tls, address: 'a:1'}"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "the file must be a mapping"),
        ("- a", "the file must be a mapping"),
        ("targets: []", "no targets"),
        ("targets: 5", "targets must be a list"),
        ("target: []", "has no key 'target'; did you mean 'targets'?"),
        ("targets: [5]", "a target must be a mapping"),
        ("targets: [{kind: tls}]", "a target: name must be given"),
        ("targets: [{name: 'a b', kind: tls}]", "letters, digits"),
        ("targets: [{name: a}]", "target 'a': kind must be given"),
        ("targets: [{name: a, kind: smtp}]", "kind is 'smtp'; possible are tls, xmpp-client"),
        ("targets: [{name: a, kind: tls, adress: x}]", "has no key 'adress'; did you mean 'address'?"),
        ("targets: [{name: a, kind: tls, paths: [x]}]", "has no key 'paths' with kind tls"),
        ("targets: [{name: a, kind: file, paths: []}]", "paths must name at least one file"),
        ("targets: [{name: a, kind: file, paths: x}]", "paths must be a list"),
        ("targets: [{name: a, kind: tls}]", "address must be given"),
        ("targets: [{name: a, kind: tls, address: 'host'}]", "write host:port"),
        ("targets: [{name: a, kind: tls, address: ':443'}]", "write host:port"),
        ('targets: [{name: a, kind: tls, address: "x\'y:5"}]', "write host:port"),
        ("targets: [{name: a, kind: tls, address: 'a:1', server_name: 'é'}]", "not a host name"),
        ("targets: [{name: a, kind: tls, address: 'a:1', host_names: ['*.x']}]", "neither a host name nor"),
        ("targets: [{name: a, kind: xmpp-client, address: '10.0.0.1:5222'}]", "server_name must be given"),
        ("targets: [{name: a, kind: tls, address: 'a:1', timeout: 5}]", "write 500ms, 10s, 1m"),
        ("targets: [{name: a, kind: tls, address: 'a:1', timeout: 2m}]", "above 60s"),
        (f"targets: [{TLS}, {TLS}]", "names must be unique"),
        ("targets: [{name: a, name: b}]", "'name' is given twice in a target"),
        ("targets: [", "not valid YAML"),
        ("targets: \x07", "not valid YAML"),
        ("[" * 5000, "not valid YAML"),
    ],
)
def test_a_mistake_is_one_line_that_says_what_to_do(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    said = str(caught.value)
    assert complaint in said
    assert said.startswith(str(tmp_path / "certificates.yml"))
    assert "\n" not in said


def test_the_line_of_the_mistake_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"certificates\.yml:4: target 'a': kind is 'x'"):
        read(tmp_path, "# one\ntargets:\n  - name: a\n    kind: x\n")


def test_a_missing_file_and_one_that_is_no_text_are_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"check --config\.file"):
        load(tmp_path / "missing.yml")
    (tmp_path / "binary.yml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load(tmp_path / "binary.yml")
