"""The exporters: one package per target, on one small shared web server (`exporters.web`)."""

from importlib import metadata


def version() -> str:
    """Version of the installed distribution; "0.0.0+source" when run from a source tree that was never installed."""
    try:
        return metadata.version("commeazy-monitoring")
    except metadata.PackageNotFoundError:
        return "0.0.0+source"
