"""`make try-install`: runs docs/install.md from top to bottom, and says what it ran, what it did not, and why."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
import time

import yaml

from lab.running.workspace import ROOT
from tests.install import roots, services
from tests.install.guide import Block, Mark, parts, reason
from tests.install.operator import HOSTS_FILE, PATIENCE, Operator
from tests.install.roots import MONITORING_ADDRESS, NODE_ADDRESS, Root, TrialError
from toolkit import __version__

NEW = f"{__version__}.post1"
_CHECK = "/opt/commeazy/monitoring/bin/commeazy-check\n"


class Trial:
    """Follows the guide.

    Args:
        operator: does what it tells in words.
    """

    def __init__(self, operator: Operator) -> None:
        self.operator = operator
        self.yaml = ""
        self.first: list[Block] = []  # how a version is installed, to do it again

    def follow(self, part: Block | Mark) -> None:
        """Do one part."""
        if isinstance(part, Mark):
            say(f"line {part.line}: {' '.join(part.words)}")
            self._mark(*part.words)
        elif part.language == "yaml":
            self.yaml = part.text
        elif part.language == "bash":
            self._run(part)

    def _run(self, block: Block, version: str = __version__) -> None:
        text = block.tried.replace("monitoring=10.0.1.50", f"monitoring={MONITORING_ADDRESS}")
        text = text.replace("hosts=10.0.1.0/24", f"hosts={NODE_ADDRESS}/24")
        text = text.replace(f"version={__version__}", f"version={version}")
        if block.title.startswith("2.") and version == __version__:
            self.first.append(block)
        if block.hosts == ("build",):
            say(f"line {block.line}: build")
            if text:
                roots.run("make", "-C", ROOT, *text.split()[1:])
                for root in (self.operator.node, self.operator.monitoring):
                    shutil.copy(self.operator.archive, root.path / "tmp")
            return
        if block.hosts == ("iptables",):
            self.operator.no_firewall()
        for root in self._roots(block):
            say(f"line {block.line}: {' '.join(block.hosts)}, on {root.name}")
            printed = self._patiently(root, text) if text == _CHECK else self._once(root, text)
            self.operator.printed += printed
            for line in [] if "apt-get" in text else printed.splitlines():
                print(f"{'':10}{line[:150]}", flush=True)

    def _once(self, root: Root, text: str) -> str:
        return root.run(text, online="apt-get" in text)

    def _patiently(self, root: Root, text: str) -> str:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return root.run(text)
            except TrialError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(3)

    def _roots(self, block: Block) -> list[Root]:
        """Return the roots that play these hosts, each once."""
        both = {"monitoring": self.operator.monitoring}
        return list(dict.fromkeys(both.get(host, self.operator.node) for host in block.hosts))

    def _mark(self, *words: str) -> None:  # noqa: C901 - a case for each mark of the guide
        operator = self.operator
        match words:
            case ("edit", "scrape"):
                operator.edit_scrape(yaml.safe_load(self.yaml))
            case ("edit", what):
                getattr(operator, f"edit_{what.replace('-', '_')}")()
            case ("firewall", "nftables"):
                operator.firewall()
            case ("firewall", "iptables"):
                operator.firewall()
                operator.firewall_again()
            case ("check",):
                operator.check()
                operator.firewall()
            case ("checklist",):
                operator.checklist()
            case ("install", "new"):
                operator.install_new(__version__, NEW)
                for block in self.first:
                    self._run(block, NEW)
            case ("version", which):
                operator.version(NEW if which == "new" else __version__)
            case ("logs",):
                operator.logs_arrive()
            case ("nothing", "left"):
                operator.nothing_left()
            case _:
                raise TrialError(f"the guide has a mark that nobody knows: {words}")


def say(line: str) -> None:
    """Tell how far we are."""
    print(f"{time.monotonic() - BEGAN:6.1f} s  {line}", flush=True)


BEGAN = time.monotonic()


def main() -> int:
    """Try the guide; returns 0, or 1 with the first thing that is not as it says."""
    if os.getpid() != 1:
        print("try-install: start it by `make try-install`, which makes the namespaces it needs", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the kernel shields the first process of a namespace
    try:
        say("Making two roots and three network namespaces")
        roots.make_disk()
        roots.make_network()
        base = roots.make_base()
        node = roots.make_root(base, "node", "prosody1", HOSTS_FILE)
        monitoring = roots.make_root(base, "monitoring", "monitoring", HOSTS_FILE)
        say("Installing the service that is to be monitored")
        authority = services.install(node)
        archive = ROOT / f"dist/commeazy-monitoring-{__version__}.tar.gz"
        trial = Trial(Operator(node, monitoring, authority, archive))
        for part in parts():
            trial.follow(part)
    except TrialError as error:
        print(f"try-install: {error}\n{roots.last_words()}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped; nothing is left behind.")
        return 130
    lines = [line for part in parts() if isinstance(part, Block) for line in part.text.splitlines()]
    left_out = [(line, why) for line in lines if (why := reason(line))]
    commands = sum(bool(line.strip()) and not re.match(r"\s|END$", line) for line in lines)
    say(f"docs/install.md does what it says; of {commands} lines {len(left_out)} were not tried:")
    for line, why in left_out:
        print(f"    {line}\n        {why}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
