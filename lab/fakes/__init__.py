"""Fakes of what cannot run here: Apple, Google, the pager, and exporters played back from a recording."""
