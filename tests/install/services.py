"""The service before it is monitored: the specification's Prosody, coturn, HAProxy and PostgreSQL in one root."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import trustme

from lab.running.workspace import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.install.roots import Root

NAMES: Final = {"xmpp.commeazy.com": ("xmpp.commeazy.com", "commeazy.com"), "turn.commeazy.com": ("turn.commeazy.com",)}
HAPROXY: Final = ROOT / "lab/servers/haproxy.section-7.cfg"
COTURN: Final = ROOT / "lab/servers/coturn.section-13.conf"
PROSODY: Final = ROOT / "lab/servers/prosody.appendix-a.cfg.lua"
# Beside Appendix A: one node, its database on the same machine, and no parameters that take minutes to make.
_PROSODY: Final = """
Include "/etc/prosody/appendix-a.cfg.lua"
Include "/etc/prosody/trial.cfg.lua"
"""
_TRIAL: Final = """
sql = {
    driver = "PostgreSQL"; database = "prosody"; host = "127.0.0.1"; username = "prosody"; password = "of-the-trial";
}
ssl:value().dhparam = nil
turn_external_secret = "secret-of-the-trial"
"""


def install(node: Root) -> bytes:
    """Install and start all four; return the certificate of the authority that signed theirs."""
    backports = "prosody/$(. /etc/os-release; echo $VERSION_CODENAME)-backports"
    node.install(backports, "coturn", "haproxy", "postgresql", "lua-dbi-postgresql")
    node.install("iptables", "python3")  # a choice of firewall, and what plays systemctl
    authority = trustme.CA()
    for name, names in NAMES.items():
        _certify(node, authority, name, names)
    etc = node.path / "etc"
    (etc / "prosody/appendix-a.cfg.lua").write_text(PROSODY.read_text())
    (etc / "prosody/trial.cfg.lua").write_text(_TRIAL)
    (etc / "prosody/prosody.cfg.lua").write_text(_PROSODY)
    (etc / "turnserver.conf").write_text(COTURN.read_text().replace("<GEDEELD_SECRET>", "secret-of-the-trial"))
    (etc / "haproxy/haproxy.cfg").write_text(one_node(HAPROXY.read_text()))
    node.run(
        """
        usermod -aG ssl-cert prosody; usermod -aG ssl-cert turnserver
        chgrp -R ssl-cert /etc/letsencrypt; chmod -R g+rX /etc/letsencrypt
        install -d -o haproxy /run/haproxy
        echo "listen_addresses = '*'" >>/etc/postgresql/15/main/postgresql.conf
        echo "host all all 10.77.0.0/16 scram-sha-256" >>/etc/postgresql/15/main/pg_hba.conf
        pg_ctlcluster 15 main start
        runuser -u postgres -- psql -qc "CREATE ROLE prosody LOGIN PASSWORD 'of-the-trial'"
        runuser -u postgres -- psql -qc "CREATE DATABASE prosody OWNER prosody"
        runuser -u postgres -- psql -qc "SELECT pg_create_physical_replication_slot('replica', true)" >/dev/null
        systemctl start prosody coturn haproxy
        """
    )
    return authority.cert_pem.bytes()


def one_node(config: str) -> str:
    """Return HAProxy's configuration with one server in place of three, on its own machine."""
    lines = [line for line in config.splitlines() if "server prosody2" not in line and "server prosody3" not in line]
    text = "\n".join(lines).replace("10.0.1.10:5280", "127.0.0.1:5280")
    return text.replace("maxconn 100000", "maxconn 1000") + "\n"  # this machine may not open 200,000 files


def _certify(node: Root, authority: trustme.CA, name: str, names: tuple[str, ...]) -> None:
    issued = authority.issue_cert(*names, not_after=datetime.now(UTC) + timedelta(days=90))
    live = node.path / "etc/letsencrypt/live" / name
    live.mkdir(parents=True)
    chain = b"".join(pem.bytes() for pem in issued.cert_chain_pems)
    (live / "fullchain.pem").write_bytes(chain)
    _write_key(live / "privkey.pem", issued.private_key_pem.bytes())
    combined = node.path / "etc/ssl/commeazy/commeazy.com.pem"
    if not combined.exists():
        combined.parent.mkdir(parents=True)
        _write_key(combined, chain + issued.private_key_pem.bytes())


def _write_key(path: Path, pem: bytes) -> None:
    path.touch(0o600)  # as certbot makes it
    path.write_bytes(pem)
