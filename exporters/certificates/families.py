"""Every metric family of the certificate exporter."""

from toolkit.families import Families, Family

_CERTIFICATE = ("target", "position", "subject_cn", "issuer_cn", "serial")

FAMILIES = Families(
    Family(
        "gauge",
        "ssl_certificate_expiry_days",
        ("target",),
        "Days until the first certificate of the chain expires; negative once it has. A certificate that a server "
        "sends along although no valid path needs it does not count. Last known while the probe fails.",
    ),
    Family(
        "gauge",
        "ssl_certificate_lifetime_days",
        ("target",),
        "Days from beginning to end of the certificate that expires first, the one of ssl_certificate_expiry_days.",
    ),
    Family(
        "gauge",
        "ssl_certificate_not_after_timestamp_seconds",
        _CERTIFICATE,
        "When this certificate expires, in seconds since 1970. Position 0 is the server's own, or a file's first; "
        "subject_cn is its first DNS name or IP address if it has no common name.",
    ),
    Family(
        "gauge",
        "ssl_certificate_not_before_timestamp_seconds",
        _CERTIFICATE,
        "When this certificate begins to be valid, in seconds since 1970.",
    ),
    Family(
        "gauge",
        "ssl_certificate_unreadable_certificates",
        ("target",),
        "Certificates that were left out because they cannot be read; their dates are unknown.",
    ),
    Family(
        "gauge",
        "ssl_certificate_trusted",
        ("target",),
        "1 if nothing is wrong with the certificates: trusted issuer, valid dates, right host, strong enough. "
        "Last known while the probe fails.",
    ),
    Family(
        "gauge",
        "ssl_certificate_verification_info",
        ("target", "reason"),
        "What is wrong with the certificates, one series per reason, or reason ok; the value is 1.",
    ),
    Family(
        "gauge",
        "ssl_certificate_weak_handshake_accepted",
        ("target", "offer"),
        "1 if the server accepts a handshake that offers nothing but TLS below 1.2, or nothing but weak cipher suites "
        "of TLS 1.2 (without forward secrecy, or CBC). Tried once an hour; should be 0.",
    ),
    Family(
        "gauge",
        "ssl_certificate_served_matches_file",
        ("target",),
        "1 if the server serves the certificate of its file; 0 after a renewal until the server is reloaded.",
    ),
    Family(
        "gauge",
        "ssl_certificate_probe_success",
        ("target",),
        "1 if the last probe saw all there is to see. It says nothing about the certificates' worth.",
    ),
    Family(
        "gauge",
        "ssl_certificate_probe_info",
        ("target", "reason"),
        "Why the last probe failed, or reason ok; the value is 1.",
    ),
    Family(
        "gauge",
        "ssl_certificate_last_probe_timestamp_seconds",
        ("target",),
        "When the last probe ended, in seconds since 1970. Old: the exporter has too few places or hangs.",
    ),
    Family("gauge", "ssl_certificate_probe_duration_seconds", ("target",), "Seconds the last probe took."),
    Family("gauge", "certificate_exporter_targets", ("kind",), "Targets in the configuration."),
)
