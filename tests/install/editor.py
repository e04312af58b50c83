"""The edits that docs/install.md tells a person to make by hand, done on both roots."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import yaml

from lab.running.workspace import ROOT
from tests.install.roots import (
    MONITORING_ADDRESS,
    TrialError,
)
from tests.install.services import NAMES

if TYPE_CHECKING:
    from pathlib import Path

    from tests.install.roots import Root

_RECEIVER = "http://127.0.0.1:9095/"  # of every notification
_TAKES_ALL = """
from http.server import BaseHTTPRequestHandler, HTTPServer
class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(202)
        self.end_headers()
HTTPServer(("127.0.0.1", 9095), Receiver).serve_forever()
"""
_COTURN_PASSWORD = "password-of-the-trial"


class Editor:
    """Edits files on both roots.

    Attributes:
        printed: what the command blocks have printed so far, which a person copies from.
    """

    def __init__(self, node: Root, monitoring: Root, authority: bytes, archive: Path) -> None:
        self.node, self.monitoring = node, monitoring
        self.authority = authority
        self.archive = archive
        self.printed = ""

    def edit_prosody(self) -> None:
        """Add what Appendix A lacks of the snippet: `smacks_max_ack_delay` and mod_turn_external, and nothing else."""
        config = self.node.path / "etc/prosody/appendix-a.cfg.lua"
        configured = config.read_text()
        snippet = (ROOT / "prometheus/snippets/prosody.cfg.lua").read_text()
        lines = re.findall(r"^(\w+) = ([^{\n]+?)(?: --.*)?$", snippet, re.MULTILINE)
        missing = [f"{name} = {value}" for name, value in lines if f"{name} = {value}" not in configured]
        if missing != ["smacks_max_ack_delay = 5"]:
            raise TrialError(f"Appendix A lacks {missing} of the snippet")
        modules = [
            name for name in re.findall(r'^    "(\w+)";', snippet, re.MULTILINE) if f'"{name}";' not in configured
        ]
        if modules != ["turn_external"]:
            raise TrialError(f"Appendix A lacks the modules {modules} of the snippet")
        loaded = configured.replace("modules_enabled = {", 'modules_enabled = {\n    "turn_external";', 1)
        config.write_text("\n".join([*missing, loaded]))

    def edit_push_gateway(self) -> None:
        """Fill in the variables; make up a key of Apple's and a service account of Google's."""
        self.node.run(
            """
            sed -i 's/=CHANGE_ME/=ABC123DEF4/; s/AuthKey_CHANGE_ME/AuthKey_ABC123DEF4/' /etc/commeazy/push-gateway.env
            openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt \
                -out /etc/commeazy/apns/AuthKey_ABC123DEF4.p8
            openssl genrsa -out /tmp/google.pem 2048 2>/dev/null
            """
        )
        key = self.node.path / "tmp/google.pem"
        account = {
            "type": "service_account",
            "project_id": "trial",
            "private_key_id": "1",
            "private_key": key.read_text(),
            "client_email": "trial@trial.example.com",
            "token_uri": "https://oauth2.example.com/token",
        }
        (self.node.path / "etc/commeazy/fcm/service-account.json").write_text(json.dumps(account))
        key.unlink()

    def edit_bridge(self) -> None:
        """Load the module on the virtual host, which is where Appendix A ends."""
        with (self.node.path / "etc/prosody/appendix-a.cfg.lua").open("a") as config:
            config.write('modules_enabled = { "push_http" }\n')

    def edit_coturn(self) -> None:
        """Add the snippet, with a password, in place of the lines it replaces."""
        config = self.node.path / "etc/turnserver.conf"
        snippet = (ROOT / "prometheus/snippets/turnserver.conf").read_text().replace("CHANGE_ME", _COTURN_PASSWORD)
        kept = [line for line in config.read_text().splitlines() if not line.startswith(("total-quota", "log-file"))]
        config.write_text("\n".join(kept) + "\n" + snippet)

    def edit_haproxy(self) -> None:
        """Change the health check, serve the metrics, and allow strong cipher suites only."""
        config = self.node.path / "etc/haproxy/haproxy.cfg"
        text = config.read_text().replace("option httpchk GET /health", "option httpchk GET /xmpp-websocket")
        served = "    http-request use-service prometheus-exporter if { path /metrics }\n"
        text = text.replace("    stats enable\n", f"{served}    stats enable\n")
        chosen = (
            f"    acl synthetic src {MONITORING_ADDRESS}\n"
            "    use-server prosody1 if { req.hdr(X-Probe-Node) prosody1 } synthetic\n"
            "    http-response set-header X-Served-By %s if synthetic\n"
        )
        check = "    http-check expect status 200\n"
        strong = re.search(r"global\n((?:    ssl-.+\n)+)", (ROOT / "prometheus/snippets/haproxy.cfg").read_text())
        assert strong, "the snippet has the cipher suites"
        text = text.replace("global\n", f"global\n{strong[1]}", 1)
        config.write_text(text.replace(check, check + chosen))

    def edit_certificates(self) -> None:
        """Keep the endpoints that there are, with the authority that signed them, and bring what certbot wrote."""
        file = self.monitoring.path / "etc/commeazy/certificates.yml"
        targets = {target["name"]: target for target in yaml.safe_load(file.read_text())["targets"]}
        kept = [targets[name] for name in ("wss", "xmpp-c2s", "turn-tls")]
        for target in kept:
            target["ca"] = "/etc/commeazy/ca.pem"
        kept.append(targets["letsencrypt"])
        file.write_text(yaml.safe_dump({"targets": kept}))
        (self.monitoring.path / "etc/commeazy/ca.pem").write_bytes(self.authority)
        for name in NAMES:
            chain = (self.node.path / f"etc/letsencrypt/live/{name}/fullchain.pem").read_bytes()
            (self.monitoring.path / f"etc/commeazy/certificates/{name}.pem").write_bytes(chain)

    def edit_test_users(self) -> None:
        """Bring the passwords, and name the node and the coturn that there are."""
        made = self.node.path / "root/synthetic-passwords"
        passwords = self.monitoring.path / "etc/commeazy/synthetic-passwords"
        passwords.write_text(made.read_text())
        passwords.chmod(0o600)
        made.unlink()
        file = self.monitoring.path / "etc/commeazy/synthetic.yml"
        settings = yaml.safe_load(file.read_text()) | {"nodes": ["prosody1"], "ca": "/etc/commeazy/ca.pem"}
        settings["coturn"] = [{"name": "coturn1", "host": "coturn1", "server_name": "turn.commeazy.com"}]
        file.write_text(yaml.safe_dump(settings))

    def edit_targets(self) -> None:
        """Keep the first node of each kind, and write the receivers' secrets and the address of one that takes all."""
        for file in (self.monitoring.path / "etc/prometheus/targets").glob("*.yml"):
            file.write_text(
                re.sub(r"^ *- (prosody|coturn|haproxy|postgres)[23]:.*\n", "", file.read_text(), flags=re.MULTILINE)
            )
        for name in ("pagerduty-routing-key", "ticket-token", "deadmansswitch-token"):
            (self.monitoring.path / "etc/alertmanager/secrets" / name).write_text("made-up\n")
        file = self.monitoring.path / "etc/prometheus/alertmanager.yml"
        text = re.sub(r"url: https://\w+\.example\.com/\w+", f"url: {_RECEIVER}", file.read_text())
        key = "- routing_key_file:"
        file.write_text(text.replace(key, f"- url: {_RECEIVER}\n{'':8}{key[2:]}"))
        self.monitoring.run(f"setsid python3 -c '{_TAKES_ALL}' </dev/null >/dev/null 2>&1 &")

    def edit_checklist(self) -> None:
        """Name a port that is open, two that must be closed, and the database, with its password."""
        self.node.run("""runuser -u postgres -- psql -q -c "ALTER ROLE commeazy_check PASSWORD 'of-the-trial'" """)
        pgpass = self.monitoring.path / "etc/commeazy/checklist.pgpass"
        pgpass.write_text("*:*:*:commeazy_check:of-the-trial\n")
        pgpass.chmod(0o600)
        file = self.monitoring.path / "etc/commeazy/checklist.yml"
        settings = yaml.safe_load(file.read_text())
        del settings["dns"]  # the trial has no name server
        settings["ports"] = {"open": ["prosody1:443"], "closed": ["prosody1:5281", "prosody1:5282"]}
        database = settings["storage"]["database"].split()
        settings["storage"]["database"] = " ".join(["host=postgres-exporter", *database[1:]])
        file.write_text(yaml.safe_dump(settings))

    def edit_web(self) -> None:
        """Write the hash that was printed on the monitoring host."""
        file = self.node.path / "etc/commeazy/web/web.yml"
        hashed = self.printed_hash
        file.write_text(file.read_text().replace("HASH", hashed))

    @property
    def printed_hash(self) -> str:
        """The bcrypt hash in what was printed so far."""
        found = re.search(r"^\$2b\$.{56}$", self.printed, re.MULTILINE)
        if not found:
            raise TrialError(f"no hash was printed: {self.printed!r}")
        return found[0]

    def edit_scrape(self, addition: dict[str, Any]) -> None:
        """Give Prometheus the exporter's certificate, and the job prosody the lines of the guide."""
        certificate = (self.node.path / "etc/commeazy/web/exporter.crt").read_text()
        (self.monitoring.path / "etc/prometheus/secrets/exporters-ca.pem").write_text(certificate)
        file = self.monitoring.path / "etc/prometheus/prometheus.yml"
        config = yaml.safe_load(file.read_text())
        next(job for job in config["scrape_configs"] if job["job_name"] == "prosody").update(addition)
        file.write_text(yaml.safe_dump(config))

    # --- What is looked at ---
