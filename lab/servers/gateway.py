"""The push gateway in the lab: the real program, between a Prosody's bridge and the fake providers."""

from __future__ import annotations

import sys
from http import HTTPStatus
from typing import TYPE_CHECKING

from lab.fakes import apns
from lab.running.server import ScrapeTarget, WebServer, http_answers
from lab.running.workspace import ROOT
from lab.servers.prosody import DOMAIN

if TYPE_CHECKING:
    from lab.fakes.providers import Providers
    from lab.running.server import Workspace

SECRET = "secret-of-the-lab"  # noqa: S105 - guards nothing


class PushGateway(WebServer):
    """One gateway.

    Args:
        lab: where it runs.
        providers: where it sends to.
        name: unique in the lab.
        settings: environment variables beside those of the lab.
        node: the host it shares with a Prosody.
    """

    def __init__(
        self,
        lab: Workspace,
        providers: Providers,
        name: str = "push-gateway",
        settings: dict[str, str] | None = None,
        node: str = "prosody1",
    ) -> None:
        super().__init__(lab, name)
        self.settings = settings or {}
        self.metrics_port = lab.ports.reserve()
        self.target = ScrapeTarget("push-gateway", node, self.metrics_port)
        self._providers = providers

    @property
    def bridge(self) -> str:
        """The lines that make a Prosody send its pushes here; they end in the virtual host's section."""
        return f"""
plugin_paths = {{ "{ROOT / "deploy/prosody"}" }}
push_http_url = "{self.url}/push"
push_http_secret = "{SECRET}"
smacks_max_ack_delay = 5
VirtualHost "{DOMAIN}"
    modules_enabled = {{ "push_http" }}
"""

    def command(self) -> list[str]:
        """Run the program."""
        return [sys.executable, "-m", "gateway"]

    def environment(self) -> dict[str, str]:
        """Return the specification's variables (Section 12), and the CA to trust."""
        assert self.lab.authority
        trusted = str(self.lab.directory / "ca.pem")
        return {
            "SSL_CERT_FILE": trusted,
            "REQUESTS_CA_BUNDLE": trusted,
            "PUSH_SECRET": SECRET,
            "PORT": str(self.port),
            "METRICS_LISTEN_ADDRESS": f"127.0.0.1:{self.metrics_port}",
            "APNS_KEY_ID": apns.KEY_ID,
            "APNS_TEAM_ID": apns.TEAM_ID,
            "APNS_BUNDLE_ID": apns.BUNDLE_ID,
            "APNS_KEY_PATH": str(self._providers.key_path),
            "APNS_URL": f"https://localhost:{self._providers.apns_port}",
            "FCM_URL": f"https://localhost:{self._providers.fcm_port}",
            "GOOGLE_APPLICATION_CREDENTIALS": str(self._providers.account_path),
            **self.settings,
        }

    def is_ready(self) -> bool:
        """At least one provider can send."""
        return http_answers(f"{self.url}/-/ready", HTTPStatus.OK)
