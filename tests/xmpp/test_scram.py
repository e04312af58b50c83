"""SCRAM against the examples its RFCs print."""

import pytest

from xmpp.scram import ScramClient

# RFC 5802 section 5 and RFC 7677 section 3: client nonce, server-first, client-final, server-final; user/pencil.
EXAMPLES = {
    "SCRAM-SHA-1": (
        "fyko+d2lbbFgONRv9qkxdawL",
        "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
        "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
        "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
    ),
    "SCRAM-SHA-256": (
        "rOprNGfwEbeRWgbNEkqO",
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
    ),
}


@pytest.mark.parametrize("mechanism", EXAMPLES)
def test_the_exchange_is_the_one_the_rfc_prints(mechanism: str) -> None:
    nonce, server_first, client_final, server_final = EXAMPLES[mechanism]
    client = ScramClient(mechanism, "user", "pencil", nonce)
    assert client.first() == f"n,,n=user,r={nonce}"
    assert client.final(server_first) == client_final
    client.verify(server_final)


def test_a_server_that_does_not_know_the_key_is_refused() -> None:
    nonce, server_first, _, server_final = EXAMPLES["SCRAM-SHA-1"]
    client = ScramClient("SCRAM-SHA-1", "user", "other", nonce)
    client.final(server_first)
    with pytest.raises(ValueError, match="signature"):
        client.verify(server_final)


def test_a_nonce_that_is_not_ours_is_refused() -> None:
    client = ScramClient("SCRAM-SHA-1", "user", "pencil", "mine")
    with pytest.raises(ValueError, match="nonce"):
        client.final("r=theirs,s=QSXCR+Q6sek8bf92,i=4096")


@pytest.mark.parametrize("rounds", ["1", "4095", "1000001", "99999999999", "many"])
def test_a_server_cannot_choose_a_weak_or_an_endless_derivation(rounds: str) -> None:
    client = ScramClient("SCRAM-SHA-256", "user", "pencil", "mine")
    with pytest.raises(ValueError, match=r"rounds|malformed"):
        client.final(f"r=mine-theirs,s=QSXCR+Q6sek8bf92,i={rounds}")


@pytest.mark.parametrize("message", ["", "r", "r=mine", "r=mine,s=!,i=4096", "e=unknown-user"])
def test_a_malformed_challenge_is_one_error(message: str) -> None:
    with pytest.raises(ValueError, match="malformed"):
        ScramClient("SCRAM-SHA-1", "user", "pencil", "mine").final(message)
