"""The exporters: one package per target, on one small shared web server (`exporters.web`)."""

__version__ = "1.0.0"  # of the whole distribution; pyproject.toml takes it from here
