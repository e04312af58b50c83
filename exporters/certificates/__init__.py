"""The certificate exporter: the days left of every certificate of the service, as served and as stored in its file."""
