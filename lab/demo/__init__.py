"""The demo: the whole stack with traffic on it, and a summary of what Prometheus sees."""
