"""A small XMPP client for WebSocket and TCP, shared by the synthetic users and the lab."""
