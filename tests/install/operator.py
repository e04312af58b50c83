"""What docs/install.md tells a person to do by hand, done: the edits, and what is looked at afterwards."""

from __future__ import annotations

import json
import re
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from lab.running.workspace import ROOT
from tests.install.roots import (
    DISK,
    MONITORING_ADDRESS,
    NODE_ADDRESS,
    STRANGER,
    TrialError,
    reach,
    run,
)
from tests.install.services import NAMES

if TYPE_CHECKING:
    from tests.install.roots import Root

UNITS = (
    "prosody-exporter",
    "push-gateway",
    "coturn-exporter",
    "certificate-exporter",
    "synthetic-exporter",
    "commeazy-firewall",
)
# What the checklist says after the guide; the rest depends on how long the trial has run, and on what its roots lack.
EXPECTED = {
    **dict.fromkeys(
        ("A4", "A6", "B3", "B4", "B5", "B6", "B7", "C2", "C4", "E1", "E4", "E13", "F1", "F2", "G1", "J1", "J2"), "ok"
    ),
    **dict.fromkeys(("A5", "A7", "A8", "G2", "I1", "I4"), "UNKNOWN"),
    "A1": "FAIL",  # Debian's Prosody
}
METRICS = {
    9100: "prosody1",
    9871: "prosody1",
    9872: "coturn1",
    9874: "prosody1",
    8404: "haproxy1",
    9187: "postgres-exporter",
}
_COTURN_PASSWORD = "password-of-the-trial"
PATIENCE = 240.0  # seconds until commeazy-check must be content: some scrapes and evaluations at their real intervals


class Operator:
    """Has a hand on both roots.

    Attributes:
        printed: what the command blocks have printed so far, which a person copies from.
    """

    def __init__(self, node: Root, monitoring: Root, authority: bytes, archive: Path) -> None:
        self.node, self.monitoring = node, monitoring
        self.authority = authority
        self.archive = archive
        self.printed = ""

    # --- Edits ---

    def edit_prosody(self) -> None:
        """Add the snippet's lines that Appendix A lacks; `smacks_max_ack_delay` must be the only one."""
        config = self.node.path / "etc/prosody/appendix-a.cfg.lua"
        configured = config.read_text()
        snippet = (ROOT / "prometheus/snippets/prosody.cfg.lua").read_text()
        lines = re.findall(r"^(\w+) = ([^{\n]+?)(?: --.*)?$", snippet, re.MULTILINE)
        missing = [f"{name} = {value}" for name, value in lines if f"{name} = {value}" not in configured]
        if missing != ["smacks_max_ack_delay = 5"]:
            raise TrialError(f"Appendix A lacks {missing} of the snippet")
        config.write_text("\n".join([*missing, configured]))

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

    def edit_unbridge(self) -> None:
        """Take the module out again."""
        config = self.node.path / "etc/prosody/appendix-a.cfg.lua"
        config.write_text(config.read_text().replace('modules_enabled = { "push_http" }\n', ""))
        self.node.run("systemctl restart prosody; sleep 3")  # the exporter is back in it within two seconds
        self._must("table:" in self._script(), "the counting script is in Prosody")

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
        """Keep the first node of each kind, and write the receivers' secrets."""
        for file in (self.monitoring.path / "etc/prometheus/targets").glob("*.yml"):
            file.write_text(
                re.sub(r"^ *- (prosody|coturn|haproxy|postgres)[23]:.*\n", "", file.read_text(), flags=re.MULTILINE)
            )
        for name in ("pagerduty-routing-key", "ticket-token", "deadmansswitch-token"):
            (self.monitoring.path / "etc/alertmanager/secrets" / name).write_text("made-up\n")

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

    def firewall(self) -> None:
        """See that the monitoring host gets every page of metrics, and the stranger and a push from outside nothing."""
        for port in METRICS:
            scheme = "https" if self._has_tls(port) else "http"
            self._must(
                reach("monitoring", f"{scheme}://{NODE_ADDRESS}:{port}/metrics"), f"the monitoring host gets {port}"
            )
            self._must(not reach(STRANGER, f"{scheme}://10.77.2.1:{port}/metrics"), f"the stranger does not get {port}")
        for name, address in ((STRANGER, "10.77.2.1"), ("monitoring", NODE_ADDRESS)):
            self._must(not reach(name, f"http://{address}:5281/health"), f"{name} does not get 5281")
        self._must(not reach(STRANGER, "http://10.77.3.1:9873/metrics"), "the stranger does not get 9873")

    def no_firewall(self) -> None:
        """See that without the rules the stranger gets the pages: what keeps them from it is the rules."""
        self.node.run("systemctl stop commeazy-firewall")
        for port in METRICS:
            self._must(reach(STRANGER, f"http://10.77.2.1:{port}/metrics"), f"without rules the stranger gets {port}")

    def firewall_again(self) -> None:
        """Go back from iptables to nftables."""
        self.node.run(
            "systemctl disable --now commeazy-firewall-iptables; systemctl start commeazy-firewall;"
            "rm /etc/systemd/system/commeazy-firewall-iptables.service /etc/commeazy-firewall/rules.sh"
        )

    def check(self) -> None:
        """See that commeazy-check notices a stopped exporter, that keys are read, and that systemd takes the units."""
        valid = self.node.run("curl -fsS http://127.0.0.1:9874/metrics | grep '^push_credentials_valid'")
        self._must('{handler="voip"} 1.0' in valid, f"the gateway could read Apple's key: {valid}")
        self.node.run("systemctl stop coturn-exporter")
        deadline = time.monotonic() + PATIENCE
        command = "/opt/commeazy/monitoring/bin/commeazy-check || [[ $? == 1 ]]"
        while "FAIL  target coturn coturn1 is down" not in self.monitoring.run(command):
            self._must(time.monotonic() < deadline, "commeazy-check notices a stopped exporter")
            time.sleep(2)
        self.node.run("systemctl start coturn-exporter")
        for root in (self.node, self.monitoring):
            for unit in UNITS:
                if (root.path / f"etc/systemd/system/{unit}.service").exists():
                    self.verify(root, unit)

    def checklist(self) -> None:
        """See 68 lines; what must be right on a fresh installation is, and what the guide says is not, is not."""
        command = "/opt/commeazy/monitoring/bin/commeazy-check --checklist --format=json || [[ $? == 1 ]]"
        deadline = time.monotonic() + PATIENCE
        while True:
            found = {each["id"]: each for each in json.loads(self.monitoring.run(command))["items"]}
            wrong = [f"{key}: {found[key]}" for key, status in EXPECTED.items() if found[key]["status"] != status]
            if not wrong:
                break
            self._must(time.monotonic() < deadline, f"the checklist says what the guide expects: {wrong}")
            time.sleep(3)
        for key, each in found.items():
            print(f"{'':10}{each['status']:<8}{key:<4}{each['detail'][:120]}", flush=True)
        self._must(len(found) == 68, "the checklist has 68 items")
        self._must("YOURS" not in {each["status"] for each in found.values()}, "nobody has attested anything yet")
        attest = "/opt/commeazy/monitoring/bin/commeazy-check --attest I4 --by Trial && "
        said = self.monitoring.run(
            f"{attest}(/opt/commeazy/monitoring/bin/commeazy-check --checklist --section I || true)"
        )
        self._must("YOURS   I4" in said, f"what is attested is YOURS: {said}")
        exported = (self.monitoring.path / "var/lib/prometheus/node-exporter/commeazy_checklist.prom").read_text()
        self._must('checklist_probe_ok{id="J2"} 1' in exported, f"the timer exports what the checks saw: {exported}")
        facts = (self.node.path / "var/lib/prometheus/node-exporter/commeazy_host.prom").read_text()
        self._must('commeazy_secret_files_open{kind="push"} 0' in facts, f"the keys are closed: {facts}")

    def verify(self, root: Root, unit: str) -> None:
        """Have this machine's systemd read a unit with its drop-ins; our program, which it has not, is replaced."""
        folder = DISK / "units"
        folder.mkdir(exist_ok=True)
        for file in (root.path / "etc/systemd/system").glob(f"{unit}.service*/**/*.conf"):
            copy = folder / file.parent.name / file.name
            copy.parent.mkdir(exist_ok=True)
            copy.write_text(re.sub(r"/opt/commeazy/monitoring/bin/[\w-]+", "/usr/bin/true", file.read_text()))
        text = (root.path / f"etc/systemd/system/{unit}.service").read_text()
        copy = folder / f"{unit}.service"
        copy.write_text(re.sub(r"/opt/commeazy/monitoring/bin/[\w-]+", "/usr/bin/true", text))
        done = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", str(copy)], capture_output=True, text=True, check=False
        )
        self._must((done.returncode, done.stderr) == (0, ""), f"systemd accepts {unit}: {done.stderr}")

    def version(self, version: str) -> None:
        """See that what runs is of this version."""
        for unit in ("prosody-exporter", "push-gateway"):
            pid = (self.node.path / f"run/units/{unit}.pid").read_text()
            runs = Path(f"/proc/{pid}/cmdline").read_bytes().decode().replace("\0", " ")
            self._must(f"monitoring-{version}/" in runs, f"{unit} runs version {version}: {runs}")
        password = (self.monitoring.path / "etc/prometheus/secrets/exporters-password").read_text().strip()
        ask = "curl -sSk --retry 9 --retry-connrefused -o /dev/null -w '%{http_code}' https://127.0.0.1:9871/metrics"
        answers = self.node.run(f"{ask}; {ask} -u prometheus:{password}")
        self._must(answers == "401200", f"the exporter wants the password and takes it: {answers}")

    def install_new(self, old: str, new: str) -> None:
        """Make an archive of a newer version: the same, with another number."""
        tree = DISK / "tree"
        run(
            "cp",
            "-a",
            *(ROOT / name for name in ("alerts", "check", "dashboards", "exporters", "gateway", "toolkit", "xmpp")),
            self._made(tree),
        )
        run("cp", *(ROOT / name for name in ("README.md", "pyproject.toml")), tree)
        package = tree / "toolkit/__init__.py"
        package.write_text(package.read_text().replace(f'"{old}"', f'"{new}"'))
        unpacked = DISK / "unpacked"
        run("tar", "-xzf", self.archive, "-C", self._made(unpacked))
        content = (unpacked / f"commeazy-monitoring-{old}").rename(unpacked / f"commeazy-monitoring-{new}")
        next(content.glob("wheels/commeazy_monitoring-*")).unlink()
        python = ROOT / ".venv/bin/python"
        run(python, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", content / "wheels", tree)
        for root in (self.node, self.monitoring):
            run("tar", "-C", unpacked, "-czf", root.path / f"tmp/{content.name}.tar.gz", content.name)

    def logs_arrive(self) -> None:
        """See a node's line in the log store, without what is personal in it."""
        self.node.run("logger --tag trial 'tried from 192.0.2.7 by zoe@commeazy.com'")
        deadline = time.monotonic() + PATIENCE
        while "tried from [address] by [user]" not in self.monitoring.run("cat /var/log/hosts/*.log || true"):
            self._must(time.monotonic() < deadline, "a node's line is in the log store")
            time.sleep(0.5)

    def nothing_left(self) -> None:
        """See that no file, account, process, rule or script of ours is on the roots."""
        for root in (self.node, self.monitoring):
            left = root.run(
                "ls -d /opt/commeazy /etc/commeazy /opt/prosody-modules/* /etc/commeazy-firewall 2>/dev/null || true;"
                f"ls -d {' '.join(f'/etc/systemd/system/{unit}.service*' for unit in UNITS)} 2>/dev/null || true;"
                "getent passwd commeazy-push || true; nft list ruleset | grep commeazy || true"
            )
            self._must(left == "", f"nothing is left on {root.name}: {left}")
        ran = [process.read_bytes() for process in Path("/proc").glob("[0-9]*/cmdline") if process.exists()]
        self._must(not any(b"/opt/commeazy" in command for command in ran), "no process of ours runs")
        self._must("Result: nil" in self._script(), "the counting script is out of Prosody")

    def _script(self) -> str:
        """Ask Prosody for the exporter's counting script."""
        return self.node.run("prosodyctl shell '>return tostring(package.loaded[\"commeazy.monitoring\"])'")

    @staticmethod
    def _made(folder: Path) -> Path:
        folder.mkdir()
        return folder

    def _has_tls(self, port: int) -> bool:
        return port == 9871 and (self.node.path / "etc/commeazy/web/web.yml").exists()

    @staticmethod
    def _must(true: bool, what: str) -> None:  # noqa: FBT001 - what must be true
        if not true:
            raise TrialError(f"not so: {what}")


HOSTS_FILE = {
    "localhost": "127.0.0.1",
    f"prosody1 coturn1 haproxy1 postgres1 postgres-exporter {' '.join(NAMES)}": NODE_ADDRESS,
    "monitoring": MONITORING_ADDRESS,
}
