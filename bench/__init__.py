"""What the exporters cost, measured on real servers; printed, not asserted."""
