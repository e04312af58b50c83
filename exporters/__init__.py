"""The exporters: one package per target, on one small shared web server (`exporters.web`)."""
