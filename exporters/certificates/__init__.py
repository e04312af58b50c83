"""The certificate exporter: days left for every certificate the service stands on, as served and as it lies on disk."""
