"""Recorded lines of real servers, in all four timestamp styles, become the right counts."""

from __future__ import annotations

import math

import pytest

from exporters.coturn.log_statistics import EDGES, LogStatistics, Run, clock

TAG = "coturn-exporter-0123456789abcdef"
NAME = f"{TAG}-89abcdef"
STYLES = {
    "seconds": "{seconds}: : ",
    "seconds, thread and level": "{seconds}: (4711): INFO: ",
    "ISO 8601": "2026-01-31T12:{minutes:02}:{rest:02}+0000: : ",
    "ISO 8601 and level": "2026-01-31T12:{minutes:02}:{rest:02}.250+0100 INFO ",
}
CALL = """\
192 session 000000000000000003: realm <commeazy.com> user <>: incoming packet message processed, error 401: Unauthorized
192 IPv4. Local relay addr: 127.0.0.1:24694
192 session 000000000000000003: new, realm=<commeazy.com>, username=<1795577381:amy>, lifetime=777, cipher=A
192 session 000000000000000003: realm <commeazy.com> user <1795577381:amy>: incoming packet ALLOCATE processed, success
193 session 000000000000000003: refreshed, realm=<commeazy.com>, username=<1795577381:amy>, lifetime=600
193 session 000000000000000003: peer 127.0.0.1:23481 lifetime updated: 600
232 session 000000000000000003: refreshed, realm=<commeazy.com>, username=<1795577381:amy>, lifetime=0
232 session 000000000000000003: usage: realm=<commeazy.com>, username=<1795577381:amy>, rp=9, rb=1612, sp=9, sb=1236
232 session 000000000000000003: peer usage: realm=<commeazy.com>, username=<1795577381:amy>, rp=3, rb=300, sp=4, sb=400
232 session 000000000000000003: closed (2nd stage), user <1795577381:amy> realm <commeazy.com> origin <>, local \
127.0.0.1:23478, remote 127.0.0.1:53254, reason: allocation timeout
232 session 000000000000000003: delete: realm=<commeazy.com>, username=<1795577381:amy>"""
BANNER = "Version Coturn-4.6.1 'Gorst'"


def lines(text: str, style: str = "seconds") -> list[bytes]:
    """The lines with their leading second written in a style."""
    stamped = []
    for line in text.splitlines():
        second, _, rest = line.partition(" ")
        seconds = int(second)
        stamp = STYLES[style].format(seconds=seconds, minutes=seconds // 60, rest=seconds % 60)
        stamped.append((stamp + rest).encode())
    return stamped


def run_of(*texts: str, style: str = "seconds") -> Run:
    statistics = LogStatistics(TAG.encode(), NAME.encode())
    for text in texts:
        for line in lines(text, style):
            statistics.feed(line)
    return statistics.run


def test_a_probe_with_the_mark_of_an_earlier_secret_is_no_client_and_no_stranger() -> None:
    earlier = "coturn-exporter-fedcba9876543210"
    text = CALL.replace("amy", f"{earlier}-89abcdef-udp") + (
        f"\n233 ERROR: check_stun_auth: Cannot find credentials of user <1795577381:{earlier}-89abcdef-tcp>"
    )
    known, unknown = LogStatistics(TAG.encode(), NAME.encode(), [earlier.encode()]), LogStatistics(b"other", b"other-1")
    for line in lines(text):
        known.feed(line)
        unknown.feed(line)
    assert not known.run.events
    assert not known.run.errors
    assert unknown.run.events["created"] == 1, "without the mark it is a client"
    assert unknown.run.errors == {401: 1}


@pytest.mark.parametrize("style", STYLES)
def test_a_call_is_counted_alike_in_every_timestamp_style(style: str) -> None:
    run = run_of(CALL, style=style)
    assert run.events == {"created": 1, "refreshed": 1, "deleted": 1}
    assert run.traffic == {
        ("client", "received"): 1612,
        ("client", "sent"): 1236,
        ("peer", "received"): 300,
        ("peer", "sent"): 400,
    }
    assert run.durations.sum == 40
    assert run.durations.counts[EDGES.index(60)] == 1
    assert not run.live
    assert not run.errors
    assert run.stray_packets == 0


def test_a_timestamp_of_the_operators_own_still_counts_but_tells_no_duration() -> None:
    assert clock(b"Sat Jan 31 12:00:00: : session") is None
    statistics = LogStatistics(TAG.encode(), NAME.encode())
    for line in lines(CALL):
        statistics.feed(b"today" + line.partition(b":")[2])
    assert statistics.run.events["deleted"] == 1
    assert sum(statistics.run.durations.counts) == 0


def test_a_full_quota_is_counted_once_though_it_is_logged_twice() -> None:
    refused = (
        "1 session 000000000000000009: realm <commeazy.com> user <1:bob>: incoming packet {} processed, error 486: "
    )
    run = run_of(
        f"{refused.format('ALLOCATE')}Allocation Quota Reached\n{refused.format('message')}Allocation Quota Reached"
    )
    assert run.errors == {486: 1}


@pytest.mark.parametrize(
    "line",
    [
        "1 ERROR: check_stun_auth: Cannot find credentials of user <1795490982:bob>",
        "1 ERROR: check_stun_auth: user 1795490982:bob credentials are incorrect",
        "1 session 000000000000000001: check_stun_auth: Cannot find credentials of user <1795490982:bob>",
        "1 credentials of user <1795896052:bob> are wrong (message integrity does not match any auth secret)",
        "1 credentials of user <1:bob> have expired (the time-limited username timestamp is in the past)",
        "1 user 1795490982:bob credentials are incorrect (session 000000000000000001, check_stun_auth)",
    ],
)
def test_wrong_credentials_are_an_error_401(line: str) -> None:
    assert run_of(line).errors == {401: 1}
    assert not run_of(line.replace("bob", TAG)).errors


def test_the_probes_sessions_leave_no_trace() -> None:
    origin = f"origin <https://{TAG}.invalid:443> "
    probe = CALL.replace("amy", TAG).replace(": realm <commeazy.com> user", f": {origin}realm <commeazy.com> user")
    assert run_of(probe) == Run()


def test_the_allocations_of_other_probes_are_distinguished_from_the_clients_and_our_own() -> None:
    began, ended = CALL.partition("\n232")[0], CALL
    for name, theirs in ((NAME, set()), (f"{TAG}-00000000", {b"000000000000000003"})):
        run = run_of(began.replace("amy", name))
        assert set(run.probes) == theirs
        assert set(run.own) == {b"000000000000000003"} - theirs
        assert not run.live
        assert not run.events
        assert run_of(ended.replace("amy", name)) == Run()


def test_a_probe_that_never_said_who_it_is_is_known_by_its_origin() -> None:
    run = run_of(
        f"1 session 000000000000000001: origin <https://{TAG}.invalid:443> realm <r> user <>: incoming packet BINDING "
        "processed, success\n"
        "2 session 000000000000000001: usage: realm=<r>, username=<>, rp=1, rb=20, sp=1, sb=80\n"
        "2 session 000000000000000001: closed (2nd stage), user <> realm <r> origin <>, local a, remote b, reason: c\n"
        # coturn was started again: the same number is another session now
        "3 session 000000000000000001: usage: realm=<r>, username=<>, rp=1, rb=20, sp=1, sb=80\n"
    )
    assert run.stray_packets == 1
    assert run.bindings == 0


def test_a_banner_starts_everything_from_zero() -> None:
    statistics = LogStatistics(TAG.encode(), NAME.encode())
    for line in [*lines(CALL)[:4], BANNER.encode()]:
        statistics.feed(line)
    assert statistics.run == Run(complete=True, version="4.6.1")


def test_a_session_of_the_next_run_is_not_the_probes_for_having_its_number() -> None:
    probe = f"1 session 000000000000000003: new, realm=<r>, username=<1:{TAG}>, lifetime=600"
    statistics = LogStatistics(TAG.encode(), NAME.encode())
    for line in [*lines(probe), BANNER.encode(), *lines(CALL)]:
        statistics.feed(line)
    assert statistics.run.events["created"] == 1


def test_stun_bindings_of_sessions_without_an_allocation_are_what_is_not_turn() -> None:
    stranger = "1 session 000000000000000007: "
    run = run_of(
        f"{stranger}realm <r> user <>: incoming packet message processed, error 401: Unauthorized\n"
        f"{stranger}usage: realm=<r>, username=<>, rp=4, rb=100, sp=4, sb=300\n"
    )
    assert run.stray_packets == 3


def test_a_scan_costs_a_bounded_amount_of_memory() -> None:
    statistics = LogStatistics(TAG.encode(), NAME.encode())
    for number in range(30_000):
        statistics.feed(
            b"1: : session %018d: realm <r> user <>: incoming packet message processed, error 401: Unauthorized"
            % number
        )
    assert len(statistics._strangers) == 10_000


SINCE_4_18 = """\
2026-11-28T18:39:45.999+0000 INFO realm <r> user <>: incoming packet message processed, error 401: Unauthorized \
(session 000000000000000002)
2026-11-28T18:39:45.999+0000 INFO allocation new, realm=<r>, username=<1:amy>, lifetime=600, cipher=A, \
method=TLSv1.3 (session 000000000000000002)
2026-11-28T18:39:45.999+0000 DEBUG Global turn allocation count incremented, now 1
2026-11-28T18:39:45.999+0000 INFO realm <r> user <1:amy>: incoming packet ALLOCATE processed, success \
(session 000000000000000002)
2026-11-28T18:39:46.000+0000 INFO allocation refreshed, realm=<r>, username=<1:amy>, lifetime=600 \
(session 000000000000000002)
2026-11-28T18:39:46.000+0000 INFO socket closed remotely: 127.0.0.1:38922 (TCP socket, session 000000000000000002)
2026-11-28T18:39:47.001+0000 INFO usage: realm=<r>, username=<1:amy>, rp=3, rb=184, sp=3, sb=136 \
(session 000000000000000002)
2026-11-28T18:39:47.001+0000 INFO peer usage: realm=<r>, username=<1:amy>, rp=0, rb=7, sp=0, sb=8 \
(session 000000000000000002)
2026-11-28T18:39:47.001+0000 INFO closed (2nd stage), user <1:amy> realm <r> origin <>, local 127.0.0.1:43215, remote \
127.0.0.1:48530, reason: allocation timeout (session 000000000000000002)
2026-11-28T18:39:47.001+0000 INFO allocation delete: realm=<r>, username=<1:amy> (session 000000000000000002)"""


def fed(*recorded: str) -> Run:
    statistics = LogStatistics(TAG.encode(), NAME.encode())
    for text in recorded:
        for line in text.encode().splitlines():
            statistics.feed(line)
    return statistics.run


def test_a_call_in_the_words_of_coturn_4_18_is_counted_alike() -> None:
    during = fed(SINCE_4_18.partition("2026-11-28T18:39:46.000+0000 INFO socket")[0])
    assert list(during.live) == [b"000000000000000002"]
    run = fed(SINCE_4_18)
    assert run.events == {"created": 1, "refreshed": 1, "deleted": 1}
    assert run.traffic == {
        ("client", "received"): 184,
        ("client", "sent"): 136,
        ("peer", "received"): 7,
        ("peer", "sent"): 8,
    }
    assert run.durations.sum == pytest.approx(1.002)
    assert run.stray_packets == 0
    assert fed("2026-11-28T18:39:45.374+0000 INFO Coturn Version Coturn-4.18.0 'Gorst'").version == "4.18.0"
    refused = (
        "2026-11-28T18:39:45.999+0000 INFO realm <r> user <1:amy>: incoming packet {} processed, error 486: full {}"
    )
    session = "(session 000000000000000004)"
    assert fed(refused.format("ALLOCATE", session), refused.format("message", session)).errors == {486: 1}


@pytest.mark.parametrize("recorded", [CALL, SINCE_4_18])
def test_the_probes_leave_no_trace_and_no_memory_in_either_wording(recorded: str) -> None:
    statistics = LogStatistics(TAG.encode(), NAME.encode())
    for line in recorded.replace("1:amy", f"1:{NAME}").replace("amy", NAME).encode().splitlines():
        statistics.feed(line)
    assert statistics.run.events == statistics.run.traffic == {}
    assert not statistics._of_probes


ANONYMOUS = """\
0: : session 001000000000000002: new, realm=<r>, username=<>, lifetime=600
0: : session 001000000000000002: {origin}realm <r> user <>: incoming packet ALLOCATE processed, success
1: : session 001000000000000002: usage: realm=<r>, username=<>, rp=307, rb=184, sp=300, sb=232
1: : session 001000000000000002: closed (2nd stage), user <> realm <r> origin <>, local a, remote b, reason: timeout
1: : session 001000000000000002: delete: realm=<r>, username=<>"""


def test_with_no_auth_media_are_no_bindings_and_the_probe_no_client() -> None:
    run = fed(ANONYMOUS.format(origin=""))
    assert run.events == {"created": 1, "deleted": 1}
    assert run.stray_packets == 0
    assert fed(ANONYMOUS.format(origin=f"origin <https://{NAME}.invalid:443> ")) == Run()
    other = fed(ANONYMOUS.format(origin=f"origin <https://{TAG}-00000000.invalid:443> ").partition("1: :")[0])
    assert list(other.probes) == [b"001000000000000002"]
    assert not other.live


@pytest.mark.parametrize("digits", ["9" * 11, "9" * 400, "9" * 5000])
def test_a_number_that_no_server_writes_counts_nothing(digits: str) -> None:
    run = fed(
        f"1: : session 000000000000000003: usage: realm=<r>, username=<a>, rp={digits}, rb={digits}, sp=1, sb={digits}",
        f"1: : session 000000000000000003: realm <r> user <a>: incoming packet ALLOCATE processed, error {digits}: x",
        f"1: : session 000000000000000003: refreshed, realm=<r>, username=<a>, lifetime={digits}",
        f"0: : Version Coturn-{digits}.{digits}",
    )
    assert run == Run()
    began, ended = "session 000000000000000003: new, realm=<r>, username=<a>, lifetime=600", "delete: realm=<r>"
    run = fed(f"{digits}: : {began}", f"{digits}0: : session 000000000000000003: {ended}")
    assert math.isfinite(run.durations.sum)


@pytest.mark.parametrize("stamp", ["0001-01-01T00:00:00", "9999-12-31T23:59:59-23:59", "\xff\xfe", "", "+", "²"])
def test_a_time_that_was_made_up_raises_nothing(stamp: str) -> None:
    clock(f"{stamp}: : session".encode("utf-8", "replace"))


def test_made_up_lines_cost_bounded_memory_and_the_count_is_no_longer_believed() -> None:
    statistics = LogStatistics(TAG.encode(), NAME.encode())
    statistics.feed(BANNER.encode())
    for number in range(70_000):
        statistics.feed(b"1: : session %018d: new, realm=<r>, username=<a>, lifetime=1" % number)
        statistics.feed(b"1: : session 2%017d: new, realm=<r>, username=<>, lifetime=1" % number)
        statistics.feed(b"1: : session 1%017d: new, realm=<r>, username=<%s>, lifetime=1" % (number, TAG.encode()))
    assert len(statistics.run.live) == 1 << 16
    assert len(statistics._undecided) == len(statistics._of_probes) == len(statistics.run.probes) == 10_000
    assert not statistics.run.complete
    for number in range(2_000):
        statistics.feed(
            b"1: : session %018d: realm <r> user <a>: incoming packet ALLOCATE processed, error %d: x" % (1, number)
        )
    assert len(statistics.run.errors) == 900


def test_lines_of_another_kind_are_nothing() -> None:
    assert run_of("1 IPv4. tcp or tls connected to: 127.0.0.1:42030", "2 session 12: what") == Run()
