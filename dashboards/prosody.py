"""The panels about Prosody that more than one dashboard shows; each call makes a panel of its own."""

from typing import Any

from dashboards.limits import above
from dashboards.panels import series, states
from dashboards.pieces import Look, Query
from dashboards.promql import PROSODY
from dashboards.tiles import broken


def nodes_down() -> Any:  # noqa: ANN401 - grafanalib is untyped
    """Return the tile that every dashboard about Prosody begins with."""
    return broken("Prosody down", "Nodes whose Prosody or exporter does not answer.", PROSODY)


def prosody_answers() -> Any:  # noqa: ANN401 - grafanalib is untyped
    """Return when which Prosody was up."""
    return states("Prosody answers", "Whether Prosody answers its exporter.", 'prosody_up{instance=~"$node"}')


def event_loop_lag() -> Any:  # noqa: ANN401 - grafanalib is untyped
    """Return what every stanza and every ping waits for."""
    return series(
        "Event loop lag",
        "How late a timer ran inside Prosody: every stanza and every ping waits as long. P99: one timer in a hundred "
        "was later. If users are slow and this is not, look at the network.",
        "s",
        Query('instance:prosody_event_loop_lag_seconds:p99{instance=~"$node"}', "{{instance}} P99"),
        Query('instance:prosody_event_loop_lag_seconds:p50{instance=~"$node"}', "{{instance}} P50", Look.DASHED),
        Query('instance:prosody_event_loop_lag_seconds:mean{instance=~"$node"}', "{{instance}} average"),
        limits=above("ProsodyEventLoopSlow"),
    )


def open_file_descriptors() -> Any:  # noqa: ANN401 - grafanalib is untyped
    """Return how near a node is to refusing connections."""
    return series(
        "Open file descriptors",
        "Each connection takes one. Compare with LimitNOFILE of the service: at the limit nobody can connect.",
        "short",
        'prosody_open_fds{instance=~"$node"}',
    )
