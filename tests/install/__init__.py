"""Tries docs/install.md: `make try-install` runs its commands in throw-away Debian roots and network namespaces."""
