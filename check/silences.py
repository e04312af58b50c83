"""Creates, finds and removes an Alertmanager's silences for planned work on one node."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from check.client import CannotAskError

if TYPE_CHECKING:
    from check.client import HttpClient

MARK = "commeazy-maintenance"
# The alerts that a node's programs cause when they stop and start. Alerts on its configuration or on failed pushes are
# not effects of the work.
OF_THE_NODE = (
    "MetricAbsent",
    "NodeDown",
    "ProsodyDown",
    "ProsodyProbeFails",
    "PushGatewayCrashLoop",
    "PushGatewayDown",
    "TargetDown",
    "TargetFlapping",
)


def matchers(node: str, *, backend_low: bool) -> list[dict[str, str]]:
    """Return what must be silenced for a node, each as label -> value (a regular expression).

    Args:
        node: its name, as the instance label and as HAProxy's server.
        backend_low: whether without the node the backend has too few servers.
    """
    wanted = [
        {"instance": node, "alertname": "|".join(OF_THE_NODE)},
        {"server": node, "alertname": "HaproxyServerDown"},
    ]
    # HaproxyNoNodes still pages when the last node goes, too.
    return [*wanted, {"alertname": "HaproxyBackendNodesLow"}] if backend_low else wanted


class Silences:
    """The silences of planned work in one Alertmanager.

    Args:
        client: where its API is. Every method raises CannotAskError if it gives no answer that can be used.
    """

    def __init__(self, client: HttpClient) -> None:
        self.client = client

    def add(self, node: str, wanted: list[dict[str, str]], duration: timedelta, author: str) -> None:
        """Silence alerts with these labels for this long."""
        now = datetime.now(UTC)
        for labels in wanted:
            body = {
                "matchers": [
                    {"name": name, "value": value, "isRegex": True, "isEqual": True} for name, value in labels.items()
                ],
                "startsAt": now.isoformat(),
                "endsAt": (now + duration).isoformat(),
                "createdBy": author,
                "comment": f"{MARK} {node}",
            }
            self.client.send("POST", "api/v2/silences", body)

    def nodes(self) -> dict[str, list[str]]:
        """Return the ids of active silences, by the node whose work they are for."""
        found: dict[str, list[str]] = {}
        answer: Any = self.client.ask("api/v2/silences")
        try:
            for silence in answer:
                mark, _, node = silence["comment"].partition(" ")
                if mark == MARK and silence["status"]["state"] == "active":
                    found.setdefault(node, []).append(silence["id"])
        except (LookupError, TypeError, AttributeError):
            raise CannotAskError(f"{self.client.url}: what it answers is not Alertmanager's answer") from None
        return found

    def remove(self, ids: list[str]) -> None:
        """End silences now."""
        for one in ids:
            self.client.send("DELETE", f"api/v2/silence/{one}")
