"""Ways to break coturn; see faults.py."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from lab.users.turn import Allocations

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab.stack import Lab


@contextmanager
def allocated(lab: Lab, count: int) -> Iterator[None]:
    """So many calls, in place of those that come and go."""
    lab.calls.stop()
    with Allocations(lab.coturn) as calls:
        calls.hold(count)
        yield
    lab.calls.start()


@contextmanager
def few_ports(lab: Lab) -> Iterator[None]:
    """Somebody left coturn hardly any relay ports."""
    config = lab.coturn.config
    lab.coturn.config = f"{config}\nmin-port=61100\nmax-port=61103"
    lab.coturn.restart()
    yield
    lab.coturn.config = config
    lab.coturn.restart()
