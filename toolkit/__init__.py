"""The parts that all programs share: web server, TLS, authentication, logs, command line, metric families, scrapes."""

__version__ = "1.0.0"  # of the whole distribution; pyproject.toml takes it from here
