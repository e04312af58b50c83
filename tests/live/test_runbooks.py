"""Every command of the runbooks runs in the lab and prints what it is there for, but for those listed with a reason."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections import Counter
from typing import TYPE_CHECKING, Final

import pytest

from lab.running.workspace import ROOT
from lab.servers.exporters import SyntheticExporter
from lab.servers.generator import Generator
from lab.stack import SHORT_TIMES, Lab
from lab.users.turn import TurnClient
from tests.live.runbooks import CONSOLE_PASSWORD, NOT_HERE, Command, in_the_lab, names_here, to_fix, to_look

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PATIENCE: Final = 120.0
TOOLS: Final = ("curl", "jq", "openssl", "socat", "ss", "telnet", "top")
# What the commands must find: mod_offline has loaded by itself, and registration is open.
_ILL: Final = 'modules_disabled = { "s2s" }\nallow_registration = true\n'
_REGISTERS: Final = '\nmodules_enabled = { "push_http"; "register" }\n'
# One call at a time for each user, and room for one in all.
_NARROW: Final = f"cli-password={CONSOLE_PASSWORD}\nuser-quota=1\nmin-port=61200\nmax-port=61200\n"
# What a command must print, by what it holds; the first that fits counts. Of them all, each line must fit some command.
PRINTS: Final = {
    r"c2s count": r"OK: Total: [1-9]\d* clients",
    r"c2s show \| grep synthetic": r"^.*synthetic-",
    r"c2s show": r"user1@commeazy\.com\S* .* secure ",
    r"c2s:close": r"OK: Total: 0 sessions closed",
    r"server uptime": r"running for 0 days",
    r"server:memory": r"Used: .* MiB \(.* by Lua\)",
    r"module list .* \|.*offline": r"^ +offline$",
    r"module list .* register": r"^ +register_ibr$",
    r"module list": r"^ +websocket$",
    r"config get .* network_settings": r"read_timeout = 6;",
    r"config get .* consider_websocket_secure": r"^OK: true$",
    r"config get .* smacks_hibernation_time": r"^OK: 6$",
    r"config get .* smacks_max_ack_delay": r"^OK: 5$",
    r"config get .* (allow_registration|c2s_require_encryption)": r"^OK: true$",
    r"config get .* push_notification": r"^OK: false$",
    r"config get .* modules_disabled": r'"s2s";',
    r"user password": r"OK: User password changed",
    r"user list": r"^user1@commeazy\.com$",
    r"user delete": r"OK: User deleted",
    r"module reload": r"OK: Module reloaded on 1 host",
    r"module unload": r"OK: Module unloaded from 1 host",
    r"prosodyctl (shell config )?reload": r"OK: Config reloaded",
    r"prosodyctl check config": r"All checks passed",
    r"grep -nE .*mam": r'^\d+: +"offline";',
    r"grep -n .* /etc/prosody": r"^\d+[:-]",
    r"prosody\.sock": r"^srw",
    r"/xmpp-websocket": r"^HTTP/1\.1 200 OK",
    r"^top": r"lua5\.4|prosody",
    r"^free": r"^Mem: +\d+",
    r"cut -d, -f1,2,5,18": r"^prosody_ws,prosody1,\d+,UP$",
    r"cut -d, -f1,2,18,37": r"^prosody_ws,prosody1,UP,L7OK$",
    r"cut -d, -f1,2,18 ": r"^prosody_ws,prosody2,DOWN$",
    r"set server": r"^\s*$",
    r"show servers state": r" prosody_ws .* prosody1 ",
    r"443/health": r"SSL|Connection #\d+",  # curl trusts no authority of the lab, and says so
    r"^ip -s link": r"RX: ",
    r"pg_isready": r"accepting connections",
    r"FROM prosodyarchive": r"^ offline +\| +[1-9]",
    r"FROM pg_stat_replication": r"postgres2 .*streaming",
    r"FROM pg_replication_slots": r"^ replica +\| t +\| +\d+ \| reserved",
    r"FROM pg_stat_wal_receiver": r"^ streaming \| 127\.0\.0\.1",
    r"now\(\) - pg_last_xact_replay": r"^ t +\| [\d:.]+",
    r'"SELECT 1"': r"^ +1$",
    r"pg_is_in_recovery\(\)\"": r"^ f$",
    r"pg_reload_conf": r"^ t$",
    r"pg_drop_replication_slot": r"\(1 row\)",
    r"^df": r"%",
    r"^date": r"^\d{10}\.\d+$",
    r"^uname": r"^\d+\.\d+",
    r"^ps -eo": r"^ *RSS COMMAND",
    r"^ss -s": r"^TCP:",
    r"^ss -ntip": r"Recv-Q",
    r"^ip -brief": r"^lo +UNKNOWN +127\.0\.0\.1/8",
    r"/proc/loadavg": r"^[\d.]+ [\d.]+ [\d.]+ ",
    r"/proc/sys/fs/file-nr": r"^\d+\t\d+\t\d+$",
    r"^ls -d /proc": r"^\d+ /proc/\d+/fd$",
    r"show info": r"^Maxconn: 2000$",
    r"cut -d, -f1,2,3,5,18": r"^prosody_ws,prosody1,\d*,\d+,UP$",
    r"cut -d, -f1,2,3,5,7,18": r"^prosody_ws,prosody1,\d*,\d+,\d*,UP$",
    r"SHOW archive_mode": r"^ on$",
    r"SHOW archive_command": r"^ true$",
    r"SHOW archive_timeout": r"^ (30s|5min)$",
    r"SET archive_timeout": r"^ALTER SYSTEM$",
    r"SHOW max_connections": r"^ 100$",
    r"SHOW default_transaction_read_only": r"^ off$",
    r"FROM pg_stat_archiver": r"\(1 row\)",
    r"pg_blocking_pids": r"\(0 rows\)",
    r"pg_terminate_backend\(4711\)": r"^ f$",
    r"pg_stat_activity": r" \| postgres \| ",
    r"9873/metrics": r'^ssl_certificate_verification_info\{reason="ok",target="wss"\} 1',
    r"probe\?target=wss": r'^ssl_certificate_probe_info\{reason="ok",target="wss"\} 1',
    r"-verify_return_error": r"Verification: OK",
    r"openssl x509 .*-subject": r"notAfter=(.*\n)subject=(.*\n)SHA1 Fingerprint=",
    r"openssl x509": r"notAfter=(.*\n)SHA1 Fingerprint=",
    r"^ls .*/etc/letsencrypt": r"turn\.commeazy\.com\.key$",
    r"^ls .*/etc/prometheus/targets": r"prosody\.yml$",
    r"query=sum by \(instance\) \(max_over_time\(prosody_c2s_sessions\[1d\]\)\)": r'^  "[1-9]\d*"$',
    # Nothing ran here a day ago: the query is valid.
    r"query=.*(offset 1d|:forecast)": r'"resultType": "vector"',
    r"promtool check config": r"SUCCESS: .* is valid prometheus config",
    r"api/v1/targets .*uniq": r"^ +1 push-gateway$",
    r"api/v1/targets": r"^http://127\.0\.0\.1:\d+/metrics $",
    r"api/v1/rules": r"^push_gateway_up $",
    r"api/v1/alerts ": r'^"firing"$',
    r"api/v1/alertmanagers": r'"url": "http://127\.0\.0\.1:\d+/api/v2/alerts"',
    r"9090/-/healthy": r"Prometheus Server is Healthy",
    # What is pending or burns here, if anything, is not for this test to say: the query is valid, and asks what exists.
    r"query instant .*(ALERTS|slo:|synthetic_journeys_total|push_failures_total)": r"^$|=> ",
    r"query instant .*prosody_c2s_hibernated": r"=> \d",
    r"query instant .*(prosody_c2s_sessions|count\(up)": r"=> [1-9]",
    r"query instant .*avg_over_time\(up": r"=> [\d.]+",
    r"prosodyctl about": r"^Prosody \d+\.",
    r"^apt-cache policy": r"Installed: ",
    r"^amtool .*--inhibited": r"^Alertname ",
    r"^amtool": r"Watchdog .*Alerts reach their receiver",
    r"grep \^prosody_authentications": r'^prosody_authentications_total\{host="commeazy\.com",result="success"\} [1-9]',
    r"grep \^prosody_connection_errors": r'^prosody_connection_errors_total\{reason="probe_refused"',
    r"grep \^alertmanager_notifications": r'^alertmanager_notifications_failed_total\{integration="pagerduty"\} 0$',
    r"9871/metrics \| grep \^prosody_stanzas": r'^prosody_stanzas_total\{direction="in",kind="message"\} \d',
    r"grep -nE 'read_timeout\|smacks_hibernation_time'": r"^\d+:\s+read_timeout = 60",
    r"grep \^prosody_mod_push_http": r"^prosody_mod_push_http__refused_total\{?.*\d",
    r"prosody_push_\(wakeups": r"^prosody_push_wakeups_total\{",
    r"9871/metrics \| grep \^prosody_setting": r'^prosody_setting\{host="\*",name="read_timeout"\} 6',
    r"9871/metrics \| grep \^prosody_c2s_sessions": r'^prosody_c2s_sessions\{.*transport="websocket"\} [1-9]',
    r"9871/metrics \| grep \^prosody": r'^prosody_c2s_hibernated_sessions\{host="commeazy\.com"\} \d',
    r"9871/metrics \| grep -v": r"^ +\d+ prosody_c2s_sessions$",
    r"9871/metrics|9874/metrics \| head": r"^# HELP ",
    r"9876/metrics \| grep -E '\^\(process": r"^process_cpu_seconds_total \d",
    r"9876/metrics \| grep 'journey=\"login": r'journey="login"',
    r"9876/metrics \| grep 'journey=\"message": r'journey="message"',
    r"9876/metrics \| grep 'journey=\"turn_": r'journey="turn_',
    r"grep presence_": r'^synthetic_journey_seconds_bucket\{.*journey="presence_',
    r"synthetic_turn_\(packets": r"^synthetic_turn_packets_total\{",
    r"synthetic-passwords": r"passwords$",
    r"grep \^push_unregistered": r'^push_unregistered_total\{handler="voip"',
    r"push_\(connection_failures": r'^push_failures_total\{handler="voip"',
    r"grep \^push_key_file_private": r'^push_key_file_private\{handler="voip"',
    r"grep \^push_requests": r'^push_requests_total\{code="200"\} \d',
    r"push_\(unregistered": r"^push_voip_sent_total \d",
    r"grep \^push_calls_failed": r'^push_calls_failed_total\{handler="fcm"\} \d',
    r"grep \^push_failures": r'^push_failures_total\{handler="voip",reason="BadDeviceToken"\} \d',
    r"push_\(inflight\|retries": r"^push_retries_total\{(.*\n)+push_inflight\{",
    r"push_\(inflight\|provider": r'^push_provider_state\{.*handler="fcm"',
    r"push_stage_seconds": r'^push_stage_seconds_sum\{handler="fcm",stage="provider"\} [\d.]+',
    r"jq \.(apns|fcm)": r'^"(connected|initialized)"$',
    r"5281/health": r'"status":',
    r"^telnet": r"total-current-allocs: [1-9]",
    r"ss -ulnp \| grep -c": r"^[1-9]",
    r"ss -ulnp": r"turnserver",
    r"turnutils_stunclient": r"reflexive addr: 127\.0\.0\.1",
    r'grep -c "error (486|508)"': r"^[1-9]",
    r"grep .*-port": r"^\d+:max-port=65535$",
    r"use-auth-secret' ": r"^\d+:use-auth-secret$",
    r"grep -nE .*turnserver\.conf|grep -nE '\^\[\^#\]": r"^\d+:\S+=\S+\s+#",
    r"grep -n total-quota": r"^\d+:total-quota=100$",
    r"/sys/class/net": r"^\d+\n\d+$",
    r"ip_local_port_range": r"^\d+\t\d+$",
}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Run the servers of the runbooks, with the faults that their commands must show."""
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        pytest.skip(f"not installed: {', '.join(missing)}; `make test` says how to install them")
    with Lab() as lab:
        node = lab.nodes[0]
        node.prosody.database = lab.postgresql
        node.prosody.config = (
            _ILL
            + SHORT_TIMES
            + node.push_gateway.bridge.replace('\n    modules_enabled = { "push_http" }\n', _REGISTERS)
        )
        lab.coturn.config = _NARROW
        lab.start(lab.postgresql, lab.replica, *lab.postgres_exporters, lab.providers)
        lab.start(
            node.push_gateway,
            node.prosody,
            node.exporter,
            lab.haproxy,
            lab.coturn,
            lab.certificate_exporter,
        )
        lab.synthetic = SyntheticExporter([node.prosody], lab.haproxy, lab.coturn)
        lab.start(lab.synthetic)
        lab.start(lab.receivers, lab.alertmanager, lab.prometheus)
        lab.start(Generator([node.prosody], 3, sleepers=2, providers=lab.providers, door=lab.haproxy.websocket_url))
        lab.postgresql.run(
            *(
                "psql",
                *lab.postgresql.connection,
                "-c",
                "SELECT pg_create_physical_replication_slot('replica1')",
            )
        )
        with (
            TurnClient(lab.coturn) as caller,
            TurnClient(lab.coturn) as again,
            TurnClient(lab.coturn, user="bob") as bob,
        ):
            deadline = time.monotonic() + _PATIENCE
            while not caller.allocate().success:  # a test user has the only relay just now
                assert time.monotonic() < deadline
            assert (again.allocate().error, bob.allocate().error) == (486, 508)
            yield lab


def run(command: Command, lab: Lab) -> subprocess.CompletedProcess[str]:
    """Run a command in the lab as in a terminal of the usual width; what it prints includes what it complains about."""
    environment = (
        os.environ
        | lab.prosody.environment()
        | {"SSL_CERT_FILE": str(lab.directory / "ca.pem"), "LC_ALL": "C", "COLUMNS": "80"}
    )
    return subprocess.run(
        ["bash", "-c", in_the_lab(command, lab)],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=_PATIENCE,
    )


def expected(command: Command) -> str | None:
    """Give what a command must print, None if nobody said."""
    return next((prints for holds, prints in PRINTS.items() if re.search(holds, command.text)), None)


def runnable(commands: list[Command]) -> list[Command]:
    return [command for command in commands if command.why_not_here is None]


@pytest.mark.parametrize("command", runnable(to_look()), ids=str)
def test_a_command_to_look_finds_what_it_looks_for(command: Command, lab: Lab) -> None:
    prints = expected(command)
    assert prints, "PRINTS does not say what it must print"
    deadline = time.monotonic() + _PATIENCE
    while (done := run(command, lab)).returncode or not re.search(prints, done.stdout, re.MULTILINE):
        assert time.monotonic() < deadline, f"exit code {done.returncode}, not {prints!r}:\n{done.stdout}"
        time.sleep(0.5)  # what is to be found has yet to happen: a scrape, a push


@pytest.mark.parametrize("command", runnable(to_fix()), ids=str)
def test_a_command_to_fix_does_it(command: Command, lab: Lab) -> None:
    prints = expected(command)
    assert prints, "PRINTS does not say what it must print"
    done = run(command, lab)
    assert done.returncode == 0, done.stdout
    assert re.search(prints, done.stdout, re.MULTILINE), done.stdout


def test_what_the_index_says_is_gone_from_prosody_is_gone(lab: Lab) -> None:
    index = (ROOT / "docs/runbooks/README.md").read_text(encoding="utf-8")
    gone = re.findall(r"^\| `(\w+:\w+\(\))` \|", index, re.MULTILINE)
    assert len(gone) == 4
    for call in gone:
        assert run(Command(f'prosodyctl shell "{call}"'), lab).returncode, call
    assert "OK: 1 hosts" in run(Command("prosodyctl shell host list"), lab).stdout


def test_most_commands_run_here_and_the_others_say_why_not(capsys: pytest.CaptureFixture[str]) -> None:
    every = list(dict.fromkeys(to_look() + to_fix()))
    reasons = [command.why_not_here for command in every if command.why_not_here]
    assert set(reasons) == set(NOT_HERE.values()), "a reason that no command needs"
    with capsys.disabled():
        print(f"\nrunbooks: {len(every) - len(reasons)} of {len(every)} commands run; not here:")  # noqa: T201 - for the person who ran them
        for why, count in Counter(reasons).items():
            print(f"  {count:3} {why}")  # noqa: T201


def test_every_line_of_the_tables_is_needed(lab: Lab) -> None:
    commands = runnable(to_look() + to_fix())
    text = "\n".join(command.text for command in commands)
    assert [name for name in names_here(lab) if name not in text] == []
    assert {holds for holds, prints in PRINTS.items() if prints not in set(map(expected, commands))} == set()


@pytest.mark.parametrize("command", [c for c in to_look() if c.text.startswith("journalctl")], ids=str)
def test_journalctl_knows_the_options_that_it_is_given(command: Command, tmp_path: Path) -> None:
    line, _, _ = command.text.partition(" | ")
    done = subprocess.run(["bash", "-c", f"{line} --directory={tmp_path}"], capture_output=True, text=True, check=False)
    assert "No journal files were found." in done.stderr


def test_every_unit_that_a_runbook_names_is_one_of_ours_or_of_debians_packages() -> None:
    ours = {path.stem for path in (ROOT / "deploy/systemd").glob("*.service")}
    debians = {
        "certbot",
        "patroni",
        "coturn",
        "haproxy",
        "keepalived",
        "logrotate",
        "postgresql",
        "prometheus",
        "prometheus-alertmanager",
        "prosody",
        "rsyslog",
    }
    named = set()
    for command in to_look() + to_fix():
        if match := re.match(r"systemctl \S+ (?:-[ps] \S+ )?(.*)", command.text):
            named |= {word.removesuffix(".timer") for word in match[1].split() if not word.startswith("-")}
        named |= set(re.findall(r"journalctl -u '?([\w-]+)", command.text))
    assert named >= {"push-gateway", "prosody", "certificate-exporter"}
    assert named <= ours | debians
