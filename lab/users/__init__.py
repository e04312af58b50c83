"""The users of the lab: accounts, traffic and calls."""
