"""Alerts about certificates: what clients are shown, not only what lies in a file."""

from typing import Final

from alerts.catalogue.alert import Alert

_DASHBOARD: Final = "websocket-health"

ALERTS: Final = (
    Alert(
        name="CertificateExpiringSoon",
        expr=(
            "ssl_certificate_expiry_days < <value>\n"
            "unless ssl_certificate_expiry_days >= <share> * ssl_certificate_lifetime_days"
        ),
        summary='{{ $labels.target }}: the certificate ends in {{ $value | printf "%.1f" }} days (limit <limit>)',
        description="Users notice nothing until that day; then nobody can connect. Renew it: see why certbot did not.",
        dashboard=_DASHBOARD,
    ),
    Alert(
        name="CertificateNotTrusted",
        expr="ssl_certificate_trusted == 0",
        summary="{{ $labels.target }}: clients do not trust the certificate",
        description=(
            "Apps refuse to connect here. ssl_certificate_verification_info has the reason: expired, chain or name."
        ),
        dashboard=_DASHBOARD,
    ),
    Alert(
        name="CertificateNotReloaded",
        expr="ssl_certificate_served_matches_file == 0",
        summary="{{ $labels.target }}: the server does not serve the certificate of its file",
        description=(
            "Users notice nothing until the old one ends. Reload the server (coturn: SIGUSR2); fix certbot's hook."
        ),
        dashboard=_DASHBOARD,
    ),
    Alert(
        name="CertificateProbeFailed",
        expr="ssl_certificate_probe_success == 0",
        summary="{{ $labels.target }}: the certificates could not be read",
        description=(
            "An endpoint is down or speaks another protocol, or a file cannot be read. Its expiry is not monitored. "
            "See "
            "ssl_certificate_probe_info."
        ),
        dashboard=_DASHBOARD,
    ),
)
