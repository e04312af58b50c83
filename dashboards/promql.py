"""The PromQL that panels say again and again, each of it with the node variable and Grafana's rate interval."""


def rate(metric: str, *, where: str = "") -> str:
    """Return the rate of each series of a counter; `where` holds further matchers, such as `code="5xx"`."""
    return f'rate({metric}{{{where + "," if where else ""}instance=~"$node"}}[$__rate_interval])'


def rates(counter: str, *labels: str, where: str = "") -> str:
    """Return the rate of a counter for each node, and for each value of these labels."""
    return f"sum by ({', '.join(('instance', *labels))}) ({rate(counter, where=where)})"


def buckets(histogram: str, *, where: str = "") -> str:
    """Return what a heatmap takes: the rate of each bucket, over the chosen nodes together."""
    return f"sum by (le) ({rate(f'{histogram}_bucket', where=where)})"


def unanswered(job: str, answers: str) -> str:
    """Return how many of a job's nodes do not answer (one whose exporter is gone included)."""
    return f'count(up{{job="{job}",instance=~"$node"}}) - (sum({answers}{{instance=~"$node"}}) or vector(0))'
