"""What holds for every test: live ones run first, logging stays as it was, a slow machine makes no test red."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

settings.register_profile(
    "patient", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
settings.load_profile("patient")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what mostly waits for servers: the many short tests then fill the gaps at the end."""
    items.sort(key=lambda item: "live" not in item.path.parts)


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Take back what a program's `main` sets up: it writes to a stream that ends with its test."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
