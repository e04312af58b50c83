"""The specification's Node design beside our gateway: installs it for one run of the bench, and runs it on one core."""

from __future__ import annotations

import os
import shutil
import subprocess
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from lab.fakes import apns
from lab.running.server import Server, tcp_accepts
from lab.servers.gateway import SECRET

if TYPE_CHECKING:
    from lab.fakes.providers import Providers
    from lab.running.server import Workspace

# The specification's versions (Appendix B). Its apn2 is not on npm; its code calls apn.Provider and apn.Notification,
# which are node-apn's.
PACKAGES = ("express@4", "express-rate-limit@7", "@parse/node-apn@8", "firebase-admin@12")


class NodeGateway(Server):
    """bench/push_node.js.

    Args:
        lab: where it runs.
        providers: where it sends to.
        fcm_port: where FCM speaks HTTP/1.1, as firebase-admin does.
    """

    def __init__(self, lab: Workspace, providers: Providers, fcm_port: int) -> None:
        super().__init__(lab, "node")
        self.port = lab.ports.reserve()
        self._providers = providers
        self._fcm_port = fcm_port

    def install(self) -> str:
        """Install its packages in the lab's directory. Returns why it cannot be compared with, empty if it can."""
        if not (shutil.which("node") and shutil.which("npm")):
            return "node and npm are not here"
        command = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(self.directory), *PACKAGES]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own list
        return f"npm: {done.stderr.strip().splitlines()[0]}" if done.returncode else ""

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        """Run it."""
        return ["taskset", "-c", "0", "node", str(Path(__file__).with_name("push_node.js"))]

    def environment(self) -> dict[str, str]:
        """Return its settings."""
        return {
            "NODE_PATH": str(self.directory / "node_modules"),
            "NODE_ENV": "production",
            "PATH": os.environ["PATH"],
            "CA": str(self.lab.directory / "ca.pem"),
            "PORT": str(self.port),
            "PUSH_SECRET": SECRET,
            "APNS_KEY_PATH": str(self._providers.key_path),
            "APNS_KEY_ID": apns.KEY_ID,
            "APNS_TEAM_ID": apns.TEAM_ID,
            "APNS_BUNDLE_ID": apns.BUNDLE_ID,
            "APNS_PORT": str(self._providers.apns_port),
            "FCM_PORT": str(self._fcm_port),
        }

    def failed(self) -> int:
        """Return how many pushes were not sent: if it is not 0, its figures are worth nothing."""
        with urllib.request.urlopen(f"http://{self.address}/failed", timeout=10) as answer:
            return int(answer.read())

    def is_ready(self) -> bool:
        """It listens."""
        return tcp_accepts(self.port)
