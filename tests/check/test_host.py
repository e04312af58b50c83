"""What only a host knows: certbot's timer, and what cannot be read, which is unknown and said, and never right."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from check import host
from lab.running.workspace import ROOT

if TYPE_CHECKING:
    from pathlib import Path

CERTBOT = 'commeazy_timer_active{timer="certbot"}'
DEBIANS = (
    "0 */12 * * * root test -x /usr/bin/certbot -a \\! -d /run/systemd/system && perl -e 'sleep 1' && certbot -q renew"
)
PUSH, TLS = (f'commeazy_secret_files_open{{kind="{kind}"}}' for kind in ("push", "tls"))


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host with certificates of certbot; its systemd says that the timer is what the file `timer` says."""
    for folder in ("etc/letsencrypt/renewal", "etc/cron.d", "var/spool/cron/crontabs", "bin"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "etc/letsencrypt/renewal/xmpp.conf").touch()
    _program(tmp_path, "systemctl", 'case "$2" in certbot.timer) cat "$(dirname "$0")/timer" ;; esac')
    _timer(tmp_path, "inactive")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    return tmp_path


def _program(root: Path, name: str, script: str) -> None:
    (root / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
    (root / "bin" / name).chmod(0o755)


def _timer(root: Path, state: str) -> None:
    (root / "bin/timer").write_text(f"LoadState=loaded\nActiveState={state}\n")


def test_certbots_timer_is_active(root: Path) -> None:
    _timer(root, "active")
    facts = host.look(root)
    assert f"{CERTBOT} 1" in facts.text(0)
    assert facts.wrong == []


@pytest.mark.parametrize("unit", ["LoadState=loaded\nActiveState=inactive\n", "LoadState=not-found\n", ""])
def test_neither_a_timer_nor_cron_is_wrong_and_said(root: Path, unit: str) -> None:
    (root / "bin/timer").write_text(unit)
    facts = host.look(root)
    assert f"{CERTBOT} 0" in facts.text(0)
    assert facts.wrong == ["certbot: neither its timer nor a crontab renews certificates"]


@pytest.mark.parametrize(
    ("file", "line", "renews"),
    [
        ("etc/crontab", "17 3 * * * root certbot renew -q", 1),
        ("etc/cron.d/renewal", "17 3 * * * root /snap/bin/certbot -q renew", 1),
        ("var/spool/cron/crontabs/root", "17 3 * * * certbot renew", 1),
        ("etc/crontab", "# 17 3 * * * root certbot renew", 0),
        ("etc/cron.d/certbot", DEBIANS, 0),
        ("etc/crontab", "17 3 * * * root certbot certificates", 0),
    ],
)
def test_cron_renews_in_the_timers_place_but_not_debians_line_which_does_nothing_beside_systemd(
    root: Path, file: str, line: str, renews: int
) -> None:
    (root / file).write_text(f"{line}\n")
    assert f"{CERTBOT} {renews}" in host.look(root).text(0)


def test_a_host_without_certbots_certificates_says_nothing_of_it(root: Path) -> None:
    (root / "etc/letsencrypt/renewal/xmpp.conf").unlink()
    facts = host.look(root)
    assert "certbot" not in facts.text(0)
    assert facts.wrong == []


def test_a_systemd_that_cannot_be_asked_leaves_the_timer_unknown_unless_cron_renews(root: Path) -> None:
    _program(root, "systemctl", "echo 'System has not been booted with systemd' >&2; exit 1")
    facts = host.look(root)
    assert "certbot" not in facts.text(0)
    assert facts.wrong == ["certbot: systemd cannot be asked, so whether certificates renew is not known"]
    (root / "etc/crontab").write_text("17 3 * * * root certbot renew\n")
    assert f"{CERTBOT} 1" in host.look(root).text(0)


def _looked(root: Path) -> tuple[str, list[str]]:
    """Look as an account that may not read everything: root without its privileges is one."""
    program = (
        "import sys; from pathlib import Path; from check import host; facts = host.look(Path(sys.argv[1]));"
        "print(facts.text(0)); print(*facts.wrong, sep='\\n', file=sys.stderr)"
    )
    done = subprocess.run(
        [*unprivileged(), sys.executable, "-c", program, str(root)],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"PATH": f"{root / 'bin'}:/usr/bin:/bin"},
    )
    return done.stdout, done.stderr.strip().splitlines()


def unprivileged() -> list[str]:
    """Return what runs a command that may not read everything, for anybody who runs these tests."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("there is no setpriv, and root may read everything")
    return ["setpriv", "--bounding-set=-all"]


@pytest.fixture
def keys(root: Path) -> Path:
    """The same host with keys, closed as they should be, and logs."""
    _timer(root, "active")
    for name in ("commeazy/push.p8", "letsencrypt/live/xmpp/privkey.pem", "ssl/commeazy/turn.pem"):
        (root / "etc" / name).parent.mkdir(parents=True)
        (root / "etc" / name).touch(0o600)
    (root / "etc/commeazy/push-gateway.env").write_text("APNS_KEY_PATH=/etc/commeazy/push.p8\n")
    (root / "etc/commeazy/push-gateway.env").chmod(0o600)
    (root / "var/log/prosody").mkdir(parents=True)
    (root / "var/log/prosody/prosody.log").write_text("nothing\n")
    return root


def test_what_can_be_read_is_right_so_that_the_tests_below_say_something(keys: Path) -> None:
    text, wrong = _looked(keys)
    for sample in (f"{PUSH} 0", f"{TLS} 0", f"{CERTBOT} 1", 'log="prosody",kind="user_address"} 0'):
        assert sample in text
    assert wrong == []


@pytest.mark.parametrize(
    ("file", "mode", "expected"),
    [
        ("commeazy/push.p8", 0o400, f"{PUSH} 0"),
        ("commeazy/push.p8", 0o640, f"{PUSH} 1"),
        ("commeazy/push-gateway.env", 0o604, f"{PUSH} 1"),
        ("letsencrypt/live/xmpp/privkey.pem", 0o640, f"{TLS} 0"),
        ("letsencrypt/live/xmpp/privkey.pem", 0o644, f"{TLS} 1"),
        ("ssl/commeazy/turn.pem", 0o660, f"{TLS} 1"),
    ],
)
def test_a_push_key_is_its_owners_alone_and_a_tls_key_may_be_read_by_its_group(
    keys: Path, file: str, mode: int, expected: str
) -> None:
    (keys / "etc" / file).chmod(mode)
    text, wrong = _looked(keys)
    assert expected in text
    right = 640 if TLS in expected else 600
    named = [f"{keys / 'etc' / file}: others may read or write it; chmod {right} {keys / 'etc' / file}"]
    assert wrong == (named if expected.endswith("1") else [])


@pytest.mark.parametrize(
    ("closed", "unknown", "said"),
    [
        ("etc/commeazy", PUSH, "so who may read the push keys is not known"),
        ("etc/commeazy/push-gateway.env", PUSH, "so who may read the push keys is not known"),
        ("etc/letsencrypt/live", TLS, "so who may read the tls keys is not known"),
        ("etc/letsencrypt/live/xmpp", TLS, "so who may read the tls keys is not known"),
        ("etc/ssl/commeazy", TLS, "so who may read the tls keys is not known"),
        ("etc/letsencrypt/renewal", CERTBOT, "so whether certificates renew is not known"),
        ("var/log/prosody", 'log="prosody"', "run this as root"),
        ("var/log/prosody/prosody.log", 'log="prosody"', "run this as root"),
    ],
)
def test_what_cannot_be_read_is_unknown_and_one_line_says_so(keys: Path, closed: str, unknown: str, said: str) -> None:
    (keys / closed).chmod(0)
    try:
        text, wrong = _looked(keys)
    finally:
        (keys / closed).chmod(0o700)
    assert unknown not in text
    (line,) = wrong
    assert line.startswith(f"{keys / closed}")
    assert "Permission denied" in line
    assert said in line


def test_a_crontab_that_cannot_be_read_may_be_the_one_that_renews(keys: Path) -> None:
    _timer(keys, "inactive")
    (keys / "var/spool/cron/crontabs").chmod(0)
    try:
        text, wrong = _looked(keys)
    finally:
        (keys / "var/spool/cron/crontabs").chmod(0o700)
    assert "certbot" not in text
    assert wrong == [
        f"certbot: {keys}/var/spool/cron/crontabs: Permission denied, so whether certificates renew is not known"
    ]


def test_a_key_path_with_half_a_quote_is_a_file_that_is_not_there(keys: Path) -> None:
    (keys / "etc/commeazy/push-gateway.env").write_text("APNS_KEY_PATH='/etc/commeazy/push.p8\n")
    facts = host.look(keys)
    assert PUSH not in facts.text(0)
    assert "No such file" in facts.wrong[0]
