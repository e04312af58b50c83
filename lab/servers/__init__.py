"""The servers that the lab can run, one class each."""
