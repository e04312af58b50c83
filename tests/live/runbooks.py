"""The commands of the runbooks, and what they are called in the lab; it runs none of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from lab.running.workspace import ROOT
from lab.servers.prosody import DOMAIN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab.stack import Lab

_PROGRAMS: Final = "certbot|echo|ls|openssl|pg_isready|prosodyctl|psql|ss|sysctl|systemctl|timedatectl"
CONSOLE_PASSWORD: Final = "console-of-the-lab"
# Why a command cannot run here, by what it begins with or holds.
NOT_HERE: Final = {
    r"^(systemctl|journalctl|timedatectl)\b": "systemd neither starts the lab's servers nor keeps their logs",
    r"^certbot\b": "the lab is its own certificate authority",
    r"^(ping|ssh)\b": "the lab is one machine",
    r"\b(api\.push\.apple\.com|fcm\.googleapis\.com)\b": "Apple and Google are asked by nobody but the gateway",
    r"^sysctl\b": "it changes the machine",
    r"^cat (/run/reboot|/proc/sys/net/netfilter|/var/lib/prometheus)": "this lab runs no host, and `make drill` does",
    r"^ls .*/var/(spool/rsyslog|log/hosts)": "no host of it sends its log; tests/live/test_logs.py does",
    r"^du ": "it reads the whole disk",
    r"/etc/commeazy/(apns|fcm|push-gateway\.env)": "the lab's gateway has its settings from its environment",
    r"^/opt/commeazy/": "it is not installed here; tests/check runs the same program",
    r"(push|prosody)_canary_": "no test phone is named here; tests/gateway/test_canary.py names some",
    r"^ss -tnp": "it shows who is connected at the moment, and that may be nobody",
}


@dataclass(frozen=True)
class Command:
    """One line that a runbook tells somebody to type.

    Attributes:
        text: the line, without what is to be typed then.
        on_replica: the comment above it says that it is for PostgreSQL's replica.
        then: what is to be typed into it, once it asks.
    """

    text: str
    on_replica: bool = False
    then: str | None = None

    def __str__(self) -> str:
        """Name it in a test's report."""
        return self.text + (" (replica)" if self.on_replica else "")

    @property
    def why_not_here(self) -> str | None:
        """Why the lab cannot run it, None if it can."""
        return next((why for pattern, why in NOT_HERE.items() if re.search(pattern, self.text)), None)


def to_look() -> list[Command]:
    """Give every command of the runbooks' code blocks, once."""
    return list(dict.fromkeys(command for page in _pages() for command in _of_blocks(page)))


def to_fix() -> list[Command]:
    """Give every command that the runbooks' text under "Mitigation" spells out, once."""
    text = "\n".join(page.partition("\n## Mitigation\n")[2] for page in _pages())
    return [Command(line) for line in dict.fromkeys(re.findall(rf"`((?:{_PROGRAMS}) [^`]+)`", text))]


def _pages() -> Iterator[str]:
    for path in sorted((ROOT / "docs/runbooks").glob("[A-Z]*.md")):
        if path.stem != "README":
            yield path.read_text(encoding="utf-8")


def _of_blocks(page: str) -> Iterator[Command]:
    for block in re.findall(r"^```bash\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        comment = ""
        for line in block.splitlines():
            if line.startswith("#"):
                comment = line
            else:
                text, _, then = line.partition("# then: ")
                yield Command(text.strip(), "replica" in comment, then or None)


def names_here(lab: Lab) -> dict[str, str]:
    """Tell what the lab has in place of each name, path and port of the specification; the first that fits is taken."""
    prosody, haproxy, coturn = lab.prosody, lab.haproxy, lab.coturn
    return {
        "localhost:9090": f"127.0.0.1:{lab.prometheus.port}",
        "localhost:9093": f"127.0.0.1:{lab.alertmanager.port}",
        "localhost:9873": f"127.0.0.1:{lab.certificate_exporter.port}",
        "localhost:9876": f"127.0.0.1:{lab.synthetic.port}",
        "/etc/commeazy/synthetic-passwords": f"{lab.synthetic.directory}/passwords",
        "127.0.0.1:9871": f"127.0.0.1:{lab.prosody_exporter.port}",
        "prosody1:9871": f"127.0.0.1:{lab.prosody_exporter.port}",
        "127.0.0.1:9874": f"127.0.0.1:{lab.push_gateway.metrics_port}",
        "127.0.0.1:5281": f"127.0.0.1:{lab.push_gateway.port}",
        "127.0.0.1:5280": f"127.0.0.1:{prosody.http_port}",
        "prosody1:5280": f"127.0.0.1:{prosody.http_port}",
        "prosody1:5222": f"127.0.0.1:{prosody.c2s_port}",
        "127.0.0.1 5766": f"127.0.0.1 {coturn.cli_port}",
        "-p 3478 turn.commeazy.com": f"-p {coturn.port} 127.0.0.1",
        "grep 3478": f"grep {coturn.port}",
        "db-primary.internal.commeazy.com": f"127.0.0.1 -p {lab.postgresql.port}",
        "psql -c": f"psql -h 127.0.0.1 -p {lab.postgresql.port} -U postgres -c",
        "prosodyctl ": f"prosodyctl --config {prosody.directory}/prosody.cfg.lua ",
        "/etc/prosody/prosody.cfg.lua": f"{ROOT}/lab/servers/prosody.appendix-a.cfg.lua",
        "/var/lib/prosody/prosody.sock": str(prosody.admin_socket),
        "/run/haproxy/admin.sock": f"{haproxy.directory}/admin.sock",
        "/etc/turnserver.conf": str(coturn.config_file),
        "/var/log/turnserver/": f"{coturn.log_folder}/",
        "/etc/prometheus/": f"{lab.prometheus.directory}/",
        "/var/lib/postgresql": str(lab.postgresql.directory),
        "/etc/letsencrypt/live/xmpp.commeazy.com/fullchain.pem": str(haproxy.certificate),
        "/etc/letsencrypt/live/turn.commeazy.com/": f"{lab.directory}/certificates/",
        "xmpp.commeazy.com:443": f"127.0.0.1:{haproxy.tls_port}",
        "xmpp.commeazy.com": DOMAIN,  # whose certificate the lab's HAProxy and Prosody have
        "NAME@commeazy.com": "user2@commeazy.com",
        "ACCOUNT PASSWORD": "user3@commeazy.com another-password",
        "eth0": "lo",
        "sleep 10": "sleep 1",
        'select(.health!="': 'select(.health=="',  # here all work, and nothing would be printed
    }


def in_the_lab(command: Command, lab: Lab) -> str:
    """Give the shell's line that does in the lab what a command does at the operator's."""
    names = names_here(lab)
    line = re.sub("|".join(map(re.escape, names)), lambda found: names[found[0]], command.text)
    if command.on_replica:
        line = line.replace(f"-p {lab.postgresql.port} ", f"-p {lab.replica.port} ")
    if command.then:
        # As a person does it: the password when it is asked for, the command when there is a prompt.
        line = f"(sleep 1; echo {CONSOLE_PASSWORD}; sleep 1; echo {command.then}; sleep 1) | {line}"
    return line
