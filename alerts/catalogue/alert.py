"""What an alert of the catalogue is; the alerts themselves stand in the other modules, by what they watch."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

_PLACEHOLDER: Final = re.compile(r"<(value|window|minimum|share|limit)>")
_KNOB_OF: Final = {"limit": "value"}


@dataclass(frozen=True)
class Alert:
    """One alerting rule, with `<value>`, `<window>`, `<minimum>`, `<share>` and `<limit>` where its threshold goes.

    `<limit>` is the value as a person reads it. `dashboard` is a uid, `variable` the one of its variables that lists
    the alert's node, None if none does. `labels` are added to the rule's severity. Alerts that share a name (one for
    each watched metric, say) share their threshold and runbook.
    """

    name: str
    expr: str
    summary: str
    description: str
    dashboard: str
    variable: str | None = "node"
    labels: dict[str, str] = field(default_factory=dict)

    @property
    def knobs(self) -> frozenset[str]:
        """The numbers of a threshold that this alert's expression uses."""
        return frozenset(_PLACEHOLDER.findall(self.expr))

    @property
    def node_label(self) -> str | None:
        """The label that names the node, if the summary speaks of one."""
        return "instance" if "$labels.instance" in self.summary else None


def fill(template: str, value_of: Callable[[str], str]) -> str:
    """Put the threshold's numbers where a template has placeholders."""
    return _PLACEHOLDER.sub(lambda found: value_of(found[1]), template)
