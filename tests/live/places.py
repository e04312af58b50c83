"""Where the lab's Prosody is to be reached; nothing else."""

from pathlib import Path

from lab.servers.prosody import DOMAIN
from lab.stack import Lab
from xmpp.transport import Endpoints, trusting


def endpoints(lab: Lab, authority: Path | None = None) -> Endpoints:
    """Return the addresses of the lab's Prosody; its certificate is verified, against the lab's CA unless told."""
    prosody = lab.prosody
    ca = authority or lab.directory / "ca.pem"
    return Endpoints(DOMAIN, prosody.websocket_url, "127.0.0.1", prosody.c2s_port, trusting(ca))
