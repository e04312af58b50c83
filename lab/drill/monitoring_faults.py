"""Ways to break the monitoring itself; see faults.py."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lab.drill.postgresql_faults import unused_slot

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from lab.running.server import Server
    from lab.stack import Lab, Node


def blind(node: Node) -> AbstractContextManager[None]:
    """The exporter runs without its counting script."""
    return _with_flag(node, "--prosody.instrument=off")


def deaf(node: Node) -> AbstractContextManager[None]:
    """The exporter's WebSocket connection leads to a closed port."""
    return _with_flag(node, "--prosody.websocket-url=http://127.0.0.1:1/xmpp-websocket")


@contextmanager
def _with_flag(node: Node, flag: str) -> Iterator[None]:
    flags = node.exporter.flags
    node.exporter.flags = lambda: [*flags(), flag]
    node.exporter.restart()
    yield
    node.exporter.flags = flags
    node.exporter.restart()


@contextmanager
def no_targets(lab: Lab, job: str) -> Iterator[None]:
    """Somebody emptied a target file."""
    (lab.prometheus.directory / f"targets/{job}.yml").write_text("[]\n")
    yield
    lab.prometheus.write_targets()


@contextmanager
def duplicated(lab: Lab, job: str) -> Iterator[None]:
    """Somebody listed the target of a job twice, by two addresses and under one name."""
    file = lab.prometheus.directory / f"targets/{job}.yml"
    text = file.read_text(encoding="utf-8")
    file.write_text(text + text.replace("127.0.0.1", "localhost"), encoding="utf-8")
    yield
    lab.prometheus.write_targets()


@contextmanager
def broken_targets(lab: Lab, job: str) -> Iterator[None]:
    """Somebody saved a target file that is no YAML."""
    (lab.prometheus.directory / f"targets/{job}.yml").write_text("- targets: [\n", encoding="utf-8")
    yield
    lab.prometheus.write_targets()


@contextmanager
def broken_configuration(lab: Lab) -> Iterator[None]:
    """Somebody saved a prometheus.yml that Prometheus cannot read, and reloaded it."""
    file = lab.prometheus.directory / "prometheus.yml"
    text = file.read_text(encoding="utf-8")
    file.write_text(f"{text}\nno_such_section: true\n", encoding="utf-8")
    lab.prometheus.reload()
    yield
    file.write_text(text, encoding="utf-8")
    lab.prometheus.reload()


@contextmanager
def failing_rule(lab: Lab) -> Iterator[None]:
    """Somebody added a rule that matches many series with many."""
    file = lab.prometheus.directory / "rules/mine.yaml"
    file.write_text(
        "groups: [{name: mine, rules: [{record: mine, expr: up * on (job) group_left up * on () group_right up}]}]\n",
        encoding="utf-8",
    )
    lab.prometheus.reload()
    yield
    file.unlink()
    lab.prometheus.reload()


@contextmanager
def flapping(lab: Lab, server: Server, times: int) -> Iterator[None]:
    """It goes away and comes back, each time for a scrape or two."""
    for _ in range(times):
        server.kill()
        time.sleep(2 * lab.prometheus.interval)
        server.start()
        time.sleep(2 * lab.prometheus.interval)
    yield


@contextmanager
def refused_tickets(lab: Lab) -> Iterator[None]:
    """The ticket service answers 403, and there is something to tell it."""
    lab.receivers.refuse("ticket")
    with unused_slot(lab):
        yield
        lab.receivers.refuse()
