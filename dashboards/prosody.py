"""The panels about Prosody that more than one dashboard shows; each call makes a panel of its own."""

from typing import Any

from dashboards.limits import none_may_be
from dashboards.panels import series, stat, states
from dashboards.promql import unanswered


def nodes_that_do_not_answer() -> Any:  # noqa: ANN401 - grafanalib is untyped
    """Return the stat that every dashboard about Prosody begins with."""
    return stat(
        "Nodes that do not answer",
        "Of the nodes Prometheus scrapes, those whose Prosody does not answer its exporter, or whose exporter is gone.",
        "none",
        unanswered("prosody", "prosody_up"),
        none_may_be("ProsodyDown"),
    )


def prosody_answers() -> Any:  # noqa: ANN401 - grafanalib is untyped
    """Return when which Prosody was up."""
    return states("Prosody answers", "Whether Prosody answers its exporter.", 'prosody_up{instance=~"$node"}')


def event_loop_lag() -> Any:  # noqa: ANN401 - grafanalib is untyped
    """Return what every stanza and every ping waits for."""
    return series(
        "Event loop lag, P99",
        "What every stanza and every ping waits for inside Prosody. Users are slow and this is not: the network.",
        "s",
        'instance:prosody_event_loop_lag_seconds:p99{instance=~"$node"}',
    )


def open_file_descriptors() -> Any:  # noqa: ANN401 - grafanalib is untyped
    """Return how near a node is to refusing connections."""
    return series(
        "Open file descriptors",
        "Each connection takes one. Compare with LimitNOFILE of the service: at the limit nobody can connect.",
        "locale",
        'prosody_open_fds{instance=~"$node"}',
    )
