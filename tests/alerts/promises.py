"""What may happen to each promise, as promtool's input, and what its rules must make of it. Runs nothing.

Every case feeds the counters of an exporter, not recorded series, so it tests the whole way from a counter to an alert.
The expected values are written by hand, for each objective: when it pages, and which node the page names.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import yaml

from alerts.generate import RULES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

Case = dict[str, Any]
Segment = tuple[int, int, int]  # so many steps, good and bad events in each

NODES: Final = ("prosody1", "prosody2", "prosody3")
PAIRS: Final = tuple((sender, receiver) for sender in NODES for receiver in NODES)
GAP: Final = (-1, 0)  # in place of good and bad: no sample
_SOURCE: Final = 'job="synthetic",instance="monitoring",vantage="main"'
_URLS: Final = {
    "runbook_url": "https://github.com/commeazy/monitoring/blob/main/docs/runbooks/PromiseBurnsFast.md",
    "dashboard_url": "https://grafana.commeazy.com/d/promises",
}
_BURNS: Final = ("PromiseBurnsFast", "PromiseBurnsSlowly", "KnownCause")
_DESCRIPTION: Final = (
    "Users notice: messages, logins or calls fail. No other page says why. See which node or pair it is."
)


@dataclass(frozen=True)
class Counters:
    """How events reach the counters of one exporter.

    Attributes:
        good, bad: counters that a good, or a bad, event increases by one; JOURNEY stands for the place's journey.
        noise: counters beside them that no rule may count; each event increases them.
        place: what names a node or a pair, with {0} and {1} for its names.
        journeys: those whose interval the exporter says; the places take turns.
    """

    good: tuple[str, ...]
    bad: tuple[str, ...]
    noise: tuple[str, ...]
    place: str = 'from="{0}",to="{1}"'
    source: str = _SOURCE
    journeys: tuple[str, ...] = ()
    places: tuple[tuple[str, ...], ...] = PAIRS

    def named(self, names: Iterable[str], place: tuple[str, ...]) -> tuple[str, ...]:
        """Return the counters of a place, which has one journey."""
        if not self.journeys:
            return tuple(names)
        turn = self.places.index(place) if place in self.places else 0
        return tuple(name.replace("JOURNEY", self.journeys[turn % len(self.journeys)]) for name in names)


def _results(*journeys: str, places: tuple[tuple[str, ...], ...] = PAIRS) -> Counters:
    """Journeys that are good when their result is ok."""
    name = 'synthetic_journeys_total{journey="JOURNEY",result='
    return Counters(
        (f'{name}"ok"',),
        (f'{name}"timeout"',),
        (
            f'{name}"suspended"',
            'synthetic_journeys_total{journey="resume",result="timeout"',
            'synthetic_journeys_total{journey="resume",result="ok"',
        ),
        journeys=journeys,
        places=places,
    )


_SECONDS: Final = "synthetic_journey_seconds"
_MESSAGE: Final = f'{_SECONDS}_bucket{{journey="message",le='
_GONE: Final = f'{_SECONDS}_bucket{{journey="JOURNEY",le='
_TRIES: Final = 'synthetic_journeys_total{journey="JOURNEY",result='
_VOIP: Final = 'push_latency_ms_bucket{handler="voip",le='
_COTURNS: Final = tuple((name, name) for name in ("coturn1", "coturn2", "coturn3"))

COUNTERS: Final = {
    "message-delivered": _results("message"),
    "message-fast": Counters(
        (f'{_MESSAGE}"0.1"', f'{_SECONDS}_count{{journey="message"'),
        (f'{_SECONDS}_count{{journey="message"',),
        (
            f'{_MESSAGE}"0.05"',
            f'{_MESSAGE}"0.25"',
            f'{_SECONDS}_bucket{{journey="login",le="0.1"',
            f'{_SECONDS}_count{{journey="login"',
        ),
        journeys=("message",),
    ),
    "login": _results("login", places=tuple((name, name) for name in NODES)),
    "presence-gone": Counters(
        (f'{_GONE}"90.0"', f'{_TRIES}"ok"'),
        (f'{_TRIES}"timeout"',),
        (
            f'{_TRIES}"refused"',
            'synthetic_journeys_total{journey="presence_online",result="timeout"',
            f'{_SECONDS}_bucket{{journey="presence_online",le="90.0"',
            f'{_GONE}"150.0"',
        ),
        journeys=("presence_force_quit", "presence_vanish"),
    ),
    "call-push": Counters(
        ("push_voip_sent_total{", 'push_latency_ms_count{handler="voip"', f'{_VOIP}"2000.0"'),
        ("push_voip_failed_total{",),
        (
            f'{_VOIP}"1000.0"',
            f'{_VOIP}"5000.0"',
            "push_fcm_failed_total{",
            'push_latency_ms_count{handler="fcm"',
            'push_latency_ms_bucket{handler="fcm",le="2000.0"',
        ),
        place='instance="{0}"',
        source='job="push-gateway"',
        places=tuple((name,) for name in NODES),
    ),
    "turn": _results("turn_udp", "turn_tcp", "turn_tls", places=_COTURNS),
}
# What counts an event that comes late, and is good all the same, and whether the promise calls it bad.
SLOW: Final[dict[str, tuple[tuple[str, ...], bool]]] = {
    "message-delivered": (COUNTERS["message-delivered"].good, False),
    "message-fast": ((f'{_SECONDS}_count{{journey="message"',), True),
    "login": (COUNTERS["login"].good, False),
    "presence-gone": ((f'{_GONE}"150.0"', f'{_TRIES}"ok"'), True),
    "call-push": (("push_voip_sent_total{", 'push_latency_ms_count{handler="voip"'), True),
    "turn": (COUNTERS["turn"].good, False),
}


@dataclass
class Story:
    """What happens at each place, and when a page is expected.

    Attributes:
        name: of the case.
        segments: by place, from the beginning on; the default is for the others.
        pages: by minute, the node that a page names ("" for none) and the burn it says, or None for no page.
        asks: PromQL, its minute, and the value; None for no sample.
        measured: for how many seconds it was measured before.
        late: the bad events are late ones.
        down: the minutes in which a page says that the second node is down.
    """

    name: str
    segments: Callable[[tuple[str, ...]], Sequence[tuple[int, int, int]]]
    pages: dict[int, tuple[str, str] | None] = field(default_factory=dict)
    asks: list[tuple[str, int, float | None]] = field(default_factory=list)
    measured: int = 30 * 86400
    late: bool = False
    down: range = range(0)


def rule_groups(slo: str) -> list[dict[str, Any]]:
    """Return the generated rules of one promise, those of all promises, the burn alerts, and what keeps them back."""
    groups = yaml.safe_load((RULES / "promises.yaml").read_text(encoding="utf-8"))["groups"]
    alerts = yaml.safe_load((RULES / "alerts.yaml").read_text(encoding="utf-8"))["groups"]
    mine = [
        {
            "name": group["name"],
            "rules": [rule for rule in group["rules"] if rule.get("labels", {}).get("sloth_slo", slo) == slo],
        }
        for group in groups
    ]
    paging = [rule for group in alerts for rule in group["rules"] if rule["alert"] in _BURNS]
    return [*mine, {"name": "pages", "rules": paging}]


def beside(counters: Counters) -> list[dict[str, str]]:
    """Return what stands beside the counters of a promise, and must change nothing: other promises and exporters."""
    inputs = [
        {"series": f'{name}{{sloth_id="other"}}', "values": "7x900"}
        for name in (
            *(f"slo:events:increase{window}" for window in ("5m", "30m", "1h", "2h", "6h", "1d", "3d", "30d")),
            *(
                "slo:bad_events:increase30d",
                "slo:due:rate",
                "slo:measured:seconds",
                "slo:measured_since:timestamp_seconds",
            ),
        )
    ]
    inputs += [
        {"series": f'slo:counter:sum{{sloth_id="other",counter="{side} {number}"}}', "values": "0+7x900"}
        for side in ("total", "good")
        for number in (1, 2, 3)
    ]
    others = [_SOURCE.replace(word, "x") for word in ("synthetic", "monitoring", "main")]
    intervals = [(source, journey) for source in others for journey in counters.journeys]
    intervals += [(_SOURCE, each) for each in ("resume", "login", "presence_online") if each not in counters.journeys]
    inputs += [
        {"series": f'synthetic_journey_interval_seconds{{{source},journey="{journey}"}}', "values": "64x900"}
        for source, journey in intervals
    ]
    inputs += [
        {"series": f'{name},{_SOURCE},from="x",to="x"}}', "values": "3x900"}
        for name in counters.named(counters.noise, counters.places[0])
        if name.startswith("synthetic_journey")
    ]
    inputs += [
        {"series": f'up{{job="{job}",instance="x"}}', "values": f"{up}x900"}
        for job, up in (("prosody", 1), ("push-gateway", 0))
    ]
    return inputs


def series(
    counters: Counters, place: tuple[str, ...], segments: Sequence[Segment], *, late: tuple[str, ...] = ()
) -> Iterator[dict[str, str]]:
    """Yield the input series of one place; a segment of -1 events is one without samples, of -2 a restart."""
    good, bad = counters.named(counters.good, place), counters.named(late or counters.bad, place)
    noise = counters.named(counters.noise, place)
    names = dict.fromkeys((*good, *counters.named(counters.bad, place), *bad, *noise))
    labels = f"{counters.source},{counters.place.format(*place)}"
    for name in names:
        value, values = 0, ["0"]
        for steps, of_good, of_bad in segments:
            if of_good == -1:
                values.append(f"_x{steps}")
                continue
            if of_good == -2:  # a restart
                value = 0
                values.append(f"0x{steps - 1}")
                continue
            each = of_good * (name in good) + of_bad * (name in bad) + 3 * (of_good + of_bad) * (name in noise)
            values.append(f"{value + each}+{each}x{steps - 1}")
            value += each * steps
        opened = name if name.endswith("{") else f"{name},"
        yield {"series": f"{opened}{labels}}}", "values": " ".join(values)}


def case(slo: str, story: Story, interval: str = "1m") -> Case:
    """Return a story as promtool's case."""
    counters = COUNTERS[slo]
    inputs = [
        one
        for place in counters.places
        for one in series(counters, place, story.segments(place), late=SLOW[slo][0] if story.late else ())
    ]
    steps = sum(segment[0] for segment in story.segments(counters.places[0]))
    inputs += [
        {"series": f'synthetic_journey_interval_seconds{{{_SOURCE},journey="{journey}"}}', "values": f"64x{steps}"}
        for journey in counters.journeys
    ]
    inputs += [{"series": f'up{{job="push-gateway",instance="{node}"}}', "values": f"1x{steps}"} for node in NODES]
    if story.down:
        second = next(place[0] for place in counters.places if place[0].endswith("2"))
        labels = f'alertname="NodeDown",alertstate="firing",severity="critical",instance="{second}"'
        inputs.append({"series": f"ALERTS{{{labels}}}", "values": f"_x{story.down.start} 1x{len(story.down) - 1}"})
    me = identity(slo)
    if story.measured:
        labels = ",".join(f'{key}="{value}"' for key, value in me.items())
        inputs.append({"series": f"slo:measured_since:timestamp_seconds{{{labels}}}", "values": f"{-story.measured}"})
    checks = [
        {
            "alertname": "PromiseBurnsFast",
            "eval_time": f"{minute}m",
            "exp_alerts": [_page(me, *expected)] if expected else [],
        }
        for minute, expected in story.pages.items()
    ]
    asked = [
        {
            "expr": f"sum({of_promise(expr, slo)})",
            "eval_time": f"{minute}m",
            "exp_samples": [] if value is None else [{"labels": "{}", "value": value}],
        }
        for expr, minute, value in story.asks
    ]
    return {
        "name": f"{slo}: {story.name}",
        "interval": interval,
        "input_series": inputs,
        "alert_rule_test": checks,
        "promql_expr_test": asked,
    }


def identity(slo: str) -> dict[str, str]:
    """Return the labels of a promise."""
    return {"sloth_service": "commeazy", "sloth_slo": slo, "sloth_id": f"commeazy-{slo}"}


def of_promise(expr: str, slo: str) -> str:
    """Let a recorded series be asked for with every label of its promise."""
    name, opened, rest = expr.partition("{")
    if not name.startswith(("slo:", "sloth_")) or "(" in name:
        return expr
    labels = ",".join(f'{key}="{value}"' for key, value in identity(slo).items())
    return f"{name}{{{labels}{',' + rest if opened else '}'}"


def _page(me: dict[str, str], node: str, burn: str) -> dict[str, Any]:
    where = {"instance": node} if node else {}
    said = f"{me['sloth_slo']}: the error budget burns {burn} times too fast" + (f", on {node}" if node else "")
    return {
        "exp_labels": {"severity": "critical", "sloth_severity": "page", **me, **where},
        "exp_annotations": {"summary": said, "description": _DESCRIPTION, **_URLS},
    }
