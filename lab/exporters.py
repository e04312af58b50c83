"""Our own programs in the lab, run from the working tree with an operator's command line; no program of others."""

from __future__ import annotations

import sys
from http import HTTPStatus
from typing import TYPE_CHECKING

from lab.server import Server, Target, http_answers

if TYPE_CHECKING:
    from collections.abc import Callable

    from lab.workspace import Workspace


class Exporter(Server):
    """One exporter: the package `exporters.<kind>`, scraped as job `<kind>`.

    Args:
        lab: where it runs.
        kind: the target's word, e.g. "prosody".
        instance: the node name it is scraped under.
        flags: its command line beside the listen address, asked at each start. Replace the attribute and restart to
            change it.
    """

    def __init__(self, lab: Workspace, kind: str, instance: str, flags: Callable[[], list[str]]) -> None:
        super().__init__(lab, f"{kind}-exporter")
        self.kind = kind
        self.flags = flags
        self.port = lab.ports.reserve()
        self.target = Target(kind, instance, self.port)

    @property
    def url(self) -> str:
        """The address of its landing page."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def address(self) -> str:
        """Its landing page."""
        return self.url

    def command(self) -> list[str]:
        """Run the package with the Python that runs the lab."""
        return [
            *(sys.executable, "-m", f"exporters.{self.kind}"),
            f"--web.listen-address=127.0.0.1:{self.port}",
            *self.flags(),
        ]

    def is_ready(self) -> bool:
        """Use its own readiness page."""
        return http_answers(f"{self.url}/-/ready", HTTPStatus.OK)
