"""What docs/install.md tells a person to do beside the edits: the firewall, an update, and what is checked then."""

from __future__ import annotations

import json
import re
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from lab.running.workspace import ROOT
from tests.install.editor import Editor
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
        ("A4", "A6", "B3", "B4", "B5", "B6", "B7", "C2", "C4", "E1", "E4", "E13", "E14", "F1", "F2", "G1", "J1", "J2"),
        "ok",
    ),
    **dict.fromkeys(("A5", "A7", "A8", "G2", "I1", "I4"), "UNKNOWN"),
    **dict.fromkeys(("A1", "A2", "A3", "B1", "E7", "G5"), "FAIL"),  # why: docs/install.md
}
METRICS = {
    9100: "prosody1",
    9871: "prosody1",
    9872: "coturn1",
    9874: "prosody1",
    8404: "haproxy1",
    9187: "postgres-exporter",
}
PATIENCE = 240.0  # seconds until commeazy-check must be content: some scrapes and evaluations at their real intervals


class Operator(Editor):
    """Edits files on both roots, and sees whether everything works."""

    def edit_unbridge(self) -> None:
        """Take the module out again."""
        config = self.node.path / "etc/prosody/appendix-a.cfg.lua"
        config.write_text(config.read_text().replace('modules_enabled = { "push_http" }\n', ""))
        self.node.run("systemctl restart prosody; sleep 3")  # the exporter is back in it within two seconds
        self._must("table:" in self._script(), "the counting script is in Prosody")

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
            if not wrong or time.monotonic() > deadline:
                break
            time.sleep(3)
        for key, each in found.items():
            print(f"{'':10}{each['status']:<8}{key:<4}{each['detail'][:120]}", flush=True)
        self._must(not wrong, f"the checklist says what the guide expects: {wrong}")
        self._must(len(found) == 68, "the checklist has 68 items")
        failed = {key for key, each in found.items() if each["status"] == "FAIL"}
        self._must(failed <= EXPECTED.keys(), f"no other item fails: {failed}")
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
