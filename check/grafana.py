"""Queries Grafana's HTTP API for a dashboard; it judges nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from check.client import CannotAskError, NotThereError

if TYPE_CHECKING:
    from check.client import Client


class Grafana:
    """One Grafana.

    Args:
        client: where its pages are.
    """

    def __init__(self, client: Client) -> None:
        self.client = client

    def provisioned(self, uid: str) -> bool | None:
        """Tell whether a dashboard was provisioned from a file; None if there is no such dashboard.

        Raises:
            CannotAskError: Grafana gives no answer that can be used.
        """
        try:
            answer = self.client.ask(f"api/dashboards/uid/{uid}")
        except NotThereError:
            return None
        try:
            return bool(answer["meta"]["provisioned"])
        except (LookupError, TypeError):
            raise CannotAskError(f"{self.client.url}: what it answers is not Grafana's answer") from None
