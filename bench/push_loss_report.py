"""The report of `bench.push_loss`: the figures of each cell, and the page that compares them with those before."""

from __future__ import annotations

from dataclasses import dataclass

FAULTS = {
    "deaf": "the connection answers PINGs, but no request",
    "roomless": "the connection allows no stream any more",
    "dying": "every connection is cut after half a second, with what is under way",
    "halting": "the gateway's process is stopped for half a second to three, again and again",
}
HEAD = ["pushes", "a second", "bad answers"] + [
    f"{figure}{when}" for figure in ("lost", "twice", "P50 ms", "slowest ms", "requests") for when in (", before", "")
]


@dataclass(frozen=True)
class Figures:
    """One line of the tables.

    Args:
        fault: "503", or one of FAULTS.
        share: percent of the answers that are 503.
        rate: pushes a second.
        kind: one of KINDS.
        pushes: how many were asked for.
        lost: that no provider accepted.
        doubled: that a provider accepted twice.
        p50: milliseconds from asking to acceptance, of those accepted; and so on.
        slowest: the same.
        requests: that reached the provider.
        untrue: pushes with an outcome that is not what the provider says.
    """

    fault: str
    share: int
    rate: int
    kind: str
    pushes: int
    lost: int
    doubled: int
    p50: float
    slowest: float
    requests: int
    untrue: int


def report(before: list[Figures], after: list[Figures]) -> str:
    """Return the page."""
    lines = [
        "# Pushes while a provider misbehaves",
        "",
        "Written by `make loss`. The figures before are those of the gateway of 1.0.0 (5e3087d), measured by",
        "`python -m bench.push_loss --tree CHECKOUT --save bench/push_loss_before.json`. Both ran on a machine with",
        "other work: losses and doubles count, delays are not exact.",
        "",
        "Lost: no provider accepted it while it was worth something (30 s for a call, 60 s for a message). Twice:",
        "accepted twice. Delays: from asking the gateway to the provider's acceptance, of what was not lost. Requests:",
        "sent to the provider for each push.",
        "",
        "## Some answers are 503, the others are good",
        *_table(before, after, lambda line: line.fault == "503"),
    ]
    for fault, meaning in FAULTS.items():
        chosen = _table(before, after, lambda line, fault=fault: line.fault == fault)
        lines += ["", f"## {fault.capitalize()}: {meaning}", *chosen]
    both = [line for line in after if line.fault in {was.fault for was in before}]
    untrue = sum(line.untrue for line in after)
    lost = sum(line.lost for line in both), sum(line.lost for line in before)
    lines += [
        "",
        f"Where there are figures of both, {lost[0]} of {sum(line.pushes for line in both)} pushes were lost, before",
        f"{lost[1]}. `Push-Outcome` was not true for {untrue} of all {sum(line.pushes for line in after)}, before for",
        f"{sum(line.untrue for line in before)} of {sum(line.pushes for line in before)}.",
        "",
    ]
    return "\n".join(lines)


def _table(before: list[Figures], after: list[Figures], wanted: object) -> list[str]:
    assert callable(wanted)
    old = {(line.fault, line.share, line.rate, line.kind): line for line in before}
    head = [
        "",
        f"| {' | '.join(HEAD)} |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for line in filter(wanted, after):
        was = old.get((line.fault, line.share, line.rate, line.kind))
        pairs = [
            (
                f"{one.lost} of {one.pushes}",
                one.doubled,
                f"{one.p50:.0f}",
                f"{one.slowest:.0f}",
                f"{one.requests / one.pushes:.1f}",
            )
            if one
            else ("-",) * 5
            for one in (was, line)
        ]
        cells = [str(cell) for pair in zip(*pairs, strict=True) for cell in pair]
        share = f"{line.share} %" if line.fault == "503" else ""
        head.append(f"| {line.kind} | {line.rate} | {share} | {' | '.join(cells)} |")
    return head
