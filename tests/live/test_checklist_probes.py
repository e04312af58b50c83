"""The checklist's own checks against real servers: DNS, ports, Prosody's two ways to store, logrotate, logs."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest

from check import host
from check.logs import read
from check.probes.names import NoAnswerError, ask, dns_answers, dns_ttl
from check.probes.ports import ports
from check.probes.storage import passwords, stores
from check.site import Name, Site
from lab.running.workspace import ROOT
from lab.servers.prosody import DATABASE, DOMAIN
from lab.stack import Lab
from lab.users.accounts import ask as shell
from tests.live.checklist_lab import NAME, NameServer, make_host
from toolkit.values import Address

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as stack:
        stack.prosody.database = stack.postgresql
        stack.start(stack.postgresql, stack.prosody)
        yield stack


@pytest.fixture(scope="module")
def site(lab: Lab) -> Site:
    view = ROOT / "deploy" / "postgresql" / "checklist.sql"
    while "prosodyarchive" not in lab.postgresql.ask("SELECT tablename FROM pg_tables", DATABASE).split():
        time.sleep(0.1)  # Prosody makes its tables after it listens; the test's own timeout ends an endless wait
    for _ in range(2):  # twice does no harm
        lab.postgresql.run("psql", *lab.postgresql.connection, "-d", DATABASE, "-q", "-f", str(view))
    return Site(database=f"host=127.0.0.1 port={lab.postgresql.port} dbname={DATABASE} user=commeazy_check")


@pytest.fixture
def names(lab: Lab) -> Iterator[NameServer]:
    server = NameServer(lab)
    server.start()
    yield server
    server.stop()


def test_addresses_and_ttl_come_from_the_zones_own_server(names: NameServer) -> None:
    server = Address("127.0.0.1", names.port)
    answer = ask(server, NAME)
    assert (set(answer.addresses), answer.ttl) == ({"192.0.2.10"}, 60)
    right = (Name(NAME, frozenset({"192.0.2.10"}), 60),)
    assert dns_answers(server, right).status == dns_ttl(server, right).status == "ok"
    wrong = (Name(NAME, frozenset({"192.0.2.10", "2001:db8::1"}), 59),)
    assert dns_answers(server, wrong).text == f"{NAME} has 192.0.2.10, not 192.0.2.10, 2001:db8::1"
    assert dns_ttl(server, wrong).text == f"{NAME} has a TTL of 60 s, not 59"
    gone = (Name("gone.commeazy.com", frozenset({"192.0.2.10"}), 60),)
    assert dns_answers(server, gone).text == "gone.commeazy.com has none, not 192.0.2.10"
    assert dns_ttl(server, gone).status == "UNKNOWN"


def test_a_name_server_that_does_not_answer_is_unknown() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        server = Address("127.0.0.1", silent.getsockname()[1])
        with pytest.raises(NoAnswerError, match="no answer in time"):
            ask(server, NAME, 0.2)


def test_a_port_is_open_closed_or_not_known() -> None:
    with socket.socket() as listening, socket.socket() as bound:
        for each in (listening, bound):
            each.bind(("127.0.0.1", 0))
        listening.listen()
        answers, refuses = (Address("127.0.0.1", each.getsockname()[1]) for each in (listening, bound))
        assert ports([answers], [refuses]).status == "ok"
        assert ports([answers], [answers, refuses]).text == f"reachable from here: {answers}"
        assert ports([refuses], [refuses]).status == "UNKNOWN"
        assert ports([answers], [Address("nowhere.invalid", 1)]).text == "no address found for nowhere.invalid:1"
        assert ports([], []).status == "UNKNOWN"
        # Dropped, not refused: an address for documentation, which nobody answers for.
        assert ports([answers], [Address("192.0.2.1", 9)], timeout=0.3).status == "ok"


async def test_hashed_passwords_and_allowed_stores_are_right_and_an_account_in_the_clear_is_counted(
    lab: Lab, site: Site
) -> None:
    assert passwords(site).status == "UNKNOWN", "there is no account yet"
    await shell(lab.prosody.admin_socket, f'user:create("hashed@{DOMAIN}", "secret-word")')
    assert passwords(site).status == "ok"
    assert stores(site).status == "ok"

    lab.prosody.config = (
        'authentication = "internal_plain"\nmodules_disabled = { "s2s" }\nmodules_enabled { "offline" }\n'
    )
    lab.prosody.restart()
    await shell(lab.prosody.admin_socket, f'user:create("plain@{DOMAIN}", "secret-word")')
    assert passwords(site).text == "1 accounts have their password in the clear"

    stanza = 'require "prosody.util.stanza".message({ to = "plain@%s", from = "a@%s", type = "chat" }, "hello")'
    await shell(
        lab.prosody.admin_socket,
        f"> prosody.hosts['{DOMAIN}'].events.fire_event('message/offline/handle', "
        f"{{ stanza = {stanza % (DOMAIN, DOMAIN)} }}) return true, 'stored'",
    )
    assert stores(site).text == "offline (archive) has 1 rows"


def test_the_account_of_the_checklist_can_read_counts_only(lab: Lab, site: Site) -> None:
    del site
    me = ["psql", "-h", "127.0.0.1", "-p", str(lab.postgresql.port), "-U", "commeazy_check", "-d", DATABASE, "-Atc"]
    assert lab.postgresql.run(*me, "SELECT count(*) FROM commeazy_stores").strip().isdigit()
    for forbidden in ("SELECT value FROM prosody", "SELECT value FROM prosodyarchive", "CREATE TABLE mine (a int)"):
        with pytest.raises(Exception, match=r"denied|read-only"):
            lab.postgresql.run(*me, forbidden)


def test_a_database_that_is_away_is_unknown() -> None:
    away = Site(database="host=127.0.0.1 port=1 dbname=prosody user=commeazy_check")
    assert stores(away).status == passwords(away).status == "UNKNOWN"
    assert "cannot be asked" in stores(away).text


async def test_prosodys_files_are_counted_like_its_tables() -> None:
    with Lab() as stack:
        stack.prosody.config = ""
        stack.start(stack.prosody)
        files = Site(directory=stack.prosody.directory)
        await shell(stack.prosody.admin_socket, f'user:create("hashed@{DOMAIN}", "secret-word")')
        assert passwords(files).status == stores(files).status == "ok"
        stack.prosody.config += 'authentication = "internal_plain"\n'
        stack.prosody.restart()
        await shell(stack.prosody.admin_socket, f'user:create("plain@{DOMAIN}", "secret-word")')
        assert passwords(files).text == "1 accounts have their password in the clear"


def test_the_facts_of_a_host_that_is_right_and_of_one_that_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_host(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/sbin:/usr/bin:/bin")
    facts = host.look(tmp_path)
    assert facts.wrong == []
    assert 'commeazy_unit_restart_seconds{unit="push-gateway"} 1.2' in facts.text(0)

    (tmp_path / "etc/commeazy/push.p8").chmod(0o644)
    (tmp_path / "var/log/prosody/prosody.err").touch()
    (tmp_path / "journal").write_text("alice@commeazy.com\n")
    text = host.look(tmp_path).text(0)
    assert 'commeazy_secret_files_open{kind="push"} 1' in text
    assert "commeazy_logs_not_rotated 1" in text
    assert 'commeazy_log_personal_data{log="push-gateway",kind="user_address"} 1' in text
    assert "alice" not in text

    (tmp_path / "etc/commeazy/push.p8").unlink()
    (tmp_path / "units/push-gateway.service").unlink()
    text = host.look(tmp_path).text(0)
    assert 'kind="push"' not in text, "who may read a file that is not there is not known"
    assert "commeazy_unit" not in text


def test_the_unit_that_looks_may_become_the_user_of_a_log_in_logrotates_dry_run() -> None:
    unit = (ROOT / "deploy/systemd/commeazy-host-facts.service").read_text()
    capabilities = re.findall(r"CAP_(\w+)", re.findall(r"^CapabilityBoundingSet=(.*)$", unit, re.MULTILINE)[0])
    with TemporaryDirectory() as folder:
        root = Path(folder)
        root.chmod(0o755)
        make_host(root)
        rotation = root / "etc/logrotate.conf"
        rotation.write_text(rotation.read_text().replace("{", "{\n su nobody nogroup", 1))
        look = (
            "import sys; from pathlib import Path; from check import host; print(host.look(Path(sys.argv[1])).text(0))"
        )
        only = f"--bounding-set=-all,+{',+'.join(capabilities).lower()}"
        said = subprocess.run(
            ["setpriv", only, sys.executable, "-c", look, folder],
            check=True,
            capture_output=True,
            text=True,
            cwd=ROOT,
            env={"PATH": f"{root / 'bin'}:/usr/sbin:/usr/bin:/bin"},
        ).stdout
    assert "commeazy_logs_not_rotated 0" in said


def test_prosodys_log_at_level_info_has_its_users_addresses_and_is_counted(lab: Lab) -> None:
    lab.prosody.log.open("a").write("c2s info Authenticated as alice@commeazy.com\n")
    assert read(str(lab.prosody.log)).found["user_address"] >= 1
