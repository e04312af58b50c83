"""What a run with many users is judged by, what it writes, and what an operator may hand it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from lab.scale import report
from lab.scale.__main__ import main, tell
from lab.scale.crowds import quantile
from lab.scale.judge import Judgement, of_run, of_truth, why
from lab.scale.session import Session
from lab.scale.target import accounts
from toolkit.documents import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

HAPROXY, LIST = "`haproxy_frontend_current_sessions`", "Prosody's own list"
ALERT = {"labels": {"alertname": "ProsodyDown", "instance": "prosody2"}, "from": 210.0, "to": 240.0}


def a_run(**changes: object) -> dict[str, Any]:
    """Return the result of a run in which everything works, but for the changes."""
    quantiles = {"p50": 0.01, "p95": 0.02, "p99": 0.03}
    idle = {"haproxy": {"processes": 1, "rss": 10_000_000, "cpu": 1.0}}
    cost = {"haproxy": {"processes": 1, "rss": 11_800_000, "cpu": 2.0}}
    return {
        "plan": {
            "users": 100,
            "asleep": 0.1,
            "messages": 5.0,
            "calls": 1.0,
            "breaks": 1.0,
            "seconds": 20.0,
            "at_once": 40.0,
            "storm": 200.0,
        },
        "nodes": 2,
        "haproxies": 1,
        "seconds": 300.0,
        "truth": {"open": 90, "asleep": 10},
        "sources": {
            LIST: 106.0,
            "`prosody_c2s_sessions`": 106.0,
            "`prosody_c2s_hibernated_sessions`": 10.0,
            HAPROXY: 96.0,
            "test users' sessions": 6.0,
        },
        "entered": {"seconds": 10.0, "login_seconds": quantiles, "failures": {}, "transactions": 250},
        "lived": {
            "counts": {"sent": 100, "delivered": 100},
            "failures": {},
            "phases": {"open": 90, "asleep": 10},
            "message_seconds": quantiles,
            "seconds": 20.0,
            "client_rss": 5_000_000,
        },
        "asked": {
            **{f"{of}_{name}": 0.01 for of in ("synthetic", "push") for name in quantiles},
            "series": 1000.0,
            "samples_a_second": 50.0,
            "rule_seconds": 0.1,
            **{name: {"prosody1": 0.001, "prosody2": None} for name in ("loop_lag_p99", "loop_lag_mean")},
            "scrape_longest": {"prosody1": 0.05},
        },
        "by_prosody": {"prosody1": 56, "prosody2": 50},
        "memory_empty": {"prosody1": 20_000_000, "prosody2": 20_000_000},
        "memory_full": {"prosody1": 24_000_000, "prosody2": 24_000_000},
        "stalls": {name: {"scrape": 0.002, "nothing": 0.001} for name in ("prosody1", "prosody2")},
        "costs": cost,
        "costs_idle": idle,
        "node_flaps": 3,
        "stages": {
            "nobody is there": {"seconds": 10.0, "cpu": {"prosody": 0.001, "haproxy": 0.0}},
            "everybody logs in": {"seconds": 10.0, "cpu": {"prosody": 1.0, "haproxy": 0.2, "users": 0.3}},
            "they live": {"seconds": 20.0, "cpu": {"prosody": 0.02, "haproxy": 0.01, "users": 0.01}},
        },
        "lost": {
            "node": "prosody2",
            "sessions": 50,
            "all_back": True,
            "seconds": 30.0,
            "logins": 45,
            "failures": {},
            "login_seconds": quantiles,
            "database_clients": 9,
            "transactions": 112,
            "known_after": 14.0,
            "connections_a_second": 30,
            "retries": 12,
            "refused": 4,
            "others_down": 0,
        },
        "killed_at": 200.0,
        "alerts": [ALERT],
    } | changes


def broken(result: dict[str, Any]) -> list[str]:
    return [verdict.what for verdict in of_run(result) if not verdict.kept]


def test_a_run_in_which_everything_works_keeps_every_promise() -> None:
    assert broken(a_run()) == []


@pytest.mark.parametrize("source", [LIST, "`prosody_c2s_sessions`", "`prosody_c2s_hibernated_sessions`", HAPROXY])
@pytest.mark.parametrize("said", [None, 0.0, 150.0])
def test_a_source_that_counts_otherwise_or_nothing_is_seen(source: str, said: float | None) -> None:
    sources = a_run()["sources"] | {source: said}
    (wrong,) = [verdict for verdict in of_truth(a_run(sources=sources)) if not verdict.kept]
    assert wrong.what.startswith(source)


@pytest.mark.parametrize(
    ("counts", "p99", "what"),
    [
        ({"sent": 100, "delivered": 99}, 0.03, "no message is lost"),
        ({}, 0.03, "no message is lost"),
        ({"sent": 1, "delivered": 1}, 0.1, "messages take less than 100 ms (P99)"),
        ({"sent": 1, "delivered": 1}, None, "messages take less than 100 ms (P99)"),
    ],
)
def test_what_users_did_not_get_is_no_kept_promise(counts: dict[str, int], p99: float | None, what: str) -> None:
    assert broken(a_run(lived=a_run()["lived"] | {"counts": counts, "message_seconds": {"p99": p99}})) == [what]


def test_a_session_that_takes_more_memory_than_section_16_says_is_seen() -> None:
    full = {"prosody1": 26_000_000, "prosody2": 25_000_000}
    assert broken(a_run(memory_full=full)) == ["a session takes at most 100 KB of its Prosody"]


@pytest.mark.parametrize("lived", [{"failures": {"closed": 1}}, {"phases": {"open": 90, "asleep": 9, "out": 1}}])
def test_a_connection_that_the_server_lost_is_no_kept_promise(lived: dict[str, Any]) -> None:
    assert broken(a_run(lived=a_run()["lived"] | lived)) == ["no connection is lost that a user did not break"]


def test_users_who_do_not_come_back_and_slow_pushes_are_no_kept_promises() -> None:
    assert broken(a_run(lost=a_run()["lost"] | {"all_back": False})) == [
        "the 50 users of a node that is killed come back"
    ]
    assert broken(a_run(asked=a_run()["asked"] | {"push_p99": 2.0})) == ["pushes take less than 2 s (P99)"]


@pytest.mark.parametrize(
    ("labels", "at", "right"),
    [
        ({"alertname": "ProsodyDown", "instance": "prosody2"}, 199.0, False),
        ({"alertname": "ProsodyDown", "instance": "prosody2"}, 201.0, True),
        ({"alertname": "ProsodyDown", "instance": "prosody1"}, 201.0, False),
        ({"alertname": "SyntheticMessagesFailing", "from": "any", "to": "any"}, 201.0, True),
        ({"alertname": "ProsodyEventLoopSlow", "instance": "prosody1"}, 20.0, True),
        ({"alertname": "PresenceBoundHigh", "instance": "prosody1"}, 20.0, True),
        ({"alertname": "PresenceBoundHigh", "instance": "prosody1"}, 201.0, True),
        ({"alertname": "CoturnDown", "instance": "coturn1"}, 201.0, False),
    ],
)
def test_an_alert_is_right_only_after_the_fault_and_about_it(labels: dict[str, str], at: float, *, right: bool) -> None:
    alert = {"labels": labels, "from": at, "to": at + 60}
    assert why(alert, a_run())[1] is right
    assert ("every alert that fired was right" in broken(a_run(alerts=[alert]))) is not right


def test_the_report_says_what_is_unknown_and_what_was_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    monkeypatch.setattr(report, "PREFACE", tmp_path / "preface.md")
    monkeypatch.setattr(report, "REPORT", tmp_path / "report.md")
    report.PREFACE.write_text("# Many users\n")
    report.keep(a_run(sources=a_run()["sources"] | {LIST: None}))
    report.keep(a_run(plan=a_run()["plan"] | {"users": 20}))
    report.write()
    text = report.REPORT.read_text()
    assert text.index("## 20 users") < text.index("## 100 users")
    assert "| Prosody's own list counts 106 sessions | **not kept** | nothing |" in text
    assert "| prosody2 | 50 | 20 MB | 24 MB | 80 KB | unknown | unknown | unknown | 2 ms | 1 ms |" in text
    assert "HAProxy took one for dead 3 times" in text
    assert "| everybody logs in | 10 | 0.12 | 0.03 |" in text
    assert "| haproxy | 1 | 12 MB | 0.001 | 2.00 ms |" in text
    assert "A login costs 15 ms of CPU" in text
    assert "| 50,000 | 3.8 GB | 1.0 GB | 2.5 GB | 6 minutes | 1.0 |" in text
    assert "| 20,000 | 17% | 30,000 | 25% |" in text
    assert "| 210 s | 240 s | ProsodyDown (instance prosody2) | yes: prosody2 was killed |" in text


@pytest.mark.parametrize(("speed", "code"), [(True, 1), (False, 0)])
def test_speed_decides_where_users_and_servers_do_not_share_a_machine(*, speed: bool, code: int) -> None:
    slow = Judgement("messages take less than 100 ms (P99)", kept=False, found="200 ms", speed=True)
    lost = Judgement("no message is lost", kept=False, found="1 sent, 0 received, 0 came back")
    assert tell([slow], speed=speed) == code
    assert tell([lost], speed=speed) == 1


def test_a_quantile_of_nothing_is_unknown() -> None:
    assert quantile(0.99, []) is None
    assert quantile(0.5, [3.0, 1.0, 2.0]) == 2.0


class Listener:
    """Notes what a session sends; it has no server."""

    domain, path, server_name, tls = "commeazy.com", "/xmpp-websocket", "commeazy.com", None


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536])
def test_frames_are_cut_as_rfc_6455_says_however_they_arrive(size: int) -> None:
    data = b"x" * size
    length = (
        bytes((size,)) if size < 126 else b"\x7e" + size.to_bytes(2) if size < 65536 else b"\x7f" + size.to_bytes(8)
    )
    frame = b"\x81" + length + data
    session = Session(Listener(), "user1", "password", "", ("127.0.0.1", 1))  # type: ignore[arg-type]
    for at in (1, len(frame) - 1):
        session._buffer = frame[:at]
        assert session._frame() is None
    session._buffer = frame + b"\x89\x00"
    assert session._frame() == (1, data)
    assert session._frame() == (9, b"")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("anna@commeazy.com\n", "line 1: must hold user@domain, a space, and the password"),
        ("anna secret\n", "line 1: must hold user@domain"),
        ("anna@a.example secret\nbert@b.example secret\n", "has accounts of 2 domains; all must be of one"),
        ("anna@a.example secret\n", "has 1 accounts and 2 users were asked for; add accounts"),
    ],
)
def test_a_wrong_file_of_accounts_is_one_line_without_a_password(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "accounts"
    file.write_text(text)
    with pytest.raises(ConfigError) as raised:
        accounts(file, 2)
    assert complaint.removeprefix("line 1: ") in str(raised.value)
    assert "secret" not in str(raised.value)


def test_wrong_usage_is_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--target", "wss://xmpp.example/xmpp-websocket"])
    assert ended.value.code == 2
    assert main(["--target", "wss://x/", "--accounts", str(tmp_path / "none"), "--users", "1"]) == 2
    assert "check the path" in capsys.readouterr().err
