"""The dashboards: that they are complete, sound and up to date."""
