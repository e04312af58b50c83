"""The exporters: one package per target."""
