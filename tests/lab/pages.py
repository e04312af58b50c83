"""Small real servers for the tests of the lab itself, which need no package; as a program: a lab to interrupt."""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import TYPE_CHECKING

from lab.running.server import Server, Workspace, http_answers

if TYPE_CHECKING:
    from collections.abc import Callable


class Page(Server):
    """Python's own web server, on the lab's directory."""

    def __init__(self, lab: Workspace, name: str = "page") -> None:
        super().__init__(lab, name)
        self.port = lab.ports.reserve()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def command(self) -> list[str]:
        return [sys.executable, "-m", "http.server", str(self.port), "--bind", "127.0.0.1"]

    def is_ready(self) -> bool:
        return http_answers(self.address)


class Script(Page):
    """A server made of a line of Python; it prints "on" when it is as far as it will get."""

    patience = 3.0

    def __init__(self, lab: Workspace, script: str, name: str = "script") -> None:
        super().__init__(lab, name)
        self._script = script

    def command(self) -> list[str]:
        return [sys.executable, "-uc", self._script]

    def is_ready(self) -> bool:
        return self.log.read_text().startswith("on")


NEVER_READY = "import time; print('not yet'); time.sleep(600)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, lambda *_: print('asked')); print('on'); time.sleep(600)"
BROKEN = "import sys; print('the disk is full'); sys.exit(3)"


def tell(**facts: object) -> None:
    """Print a line of facts to the test that runs this program."""
    print(" ".join(f"{name}={value}" for name, value in facts.items()), flush=True)  # noqa: T201 - the test reads it


def wait() -> None:
    """Stay here until a signal comes; a second one may come during the clean-up."""
    tell(now="waiting")
    while True:
        sys.stdin.readline()


def before_the_first_start(lab: Workspace) -> None:
    """No server yet."""
    tell(directory=lab.directory)
    wait()


def while_a_server_starts(lab: Workspace) -> None:
    """One server runs, the other is not ready and never will be."""
    tell(directory=lab.directory)
    running, starting = Page(lab), Script(lab, NEVER_READY)
    running.start()
    tell(pid=running.pid)
    starting.patience = 60
    starting.is_ready = _announcing(starting)  # type: ignore[method-assign] # the one moment to look at
    starting.start()


def while_servers_run(lab: Workspace) -> None:
    """Two servers run."""
    tell(directory=lab.directory)
    for server in (Page(lab, "one"), Page(lab, "two")):
        server.start()
        tell(pid=server.pid)
    wait()


def while_a_server_stops(lab: Workspace) -> None:
    """The lab is being left, and one of its servers does not want to go."""
    tell(directory=lab.directory)
    for server in (Page(lab), Script(lab, DEAF)):
        server.start()
        tell(pid=server.pid)
    threading.Thread(target=_announce_the_end, args=(server,), daemon=True).start()


def _announce_the_end(server: Server) -> None:
    while "asked" not in server.log.read_text():
        time.sleep(0.01)
    tell(now="waiting")


def _announcing(server: Server) -> Callable[[], bool]:
    def is_ready() -> bool:
        if server.log.read_text():
            tell(pid=server.pid)
            tell(now="waiting")
        return False

    return is_ready


MOMENTS = {
    moment.__name__: moment
    for moment in (before_the_first_start, while_a_server_starts, while_servers_run, while_a_server_stops)
}

if __name__ == "__main__":
    tell(pid=os.getpid())
    with Workspace() as workspace:
        MOMENTS[sys.argv[1]](workspace)
