"""A small XMPP client for WebSocket and TCP, shared by the synthetic users and the lab.

Why it exists: the users of CommEazy connect over WebSocket, and the monitoring has to do what their phones do, down to
breaking a connection without a goodbye. Of the Python libraries, slixmpp has no WebSocket, nbxmpp is GPL and needs
GLib, and aioxmpp has had no release since 2023.

The modules: `errors` (one type per kind of failure), `elements` (XML in and out, bounded), `transport` (the interface
of a connection), `websocket` and `tcp` (its two kinds), `scram` (passwords), `login` (up to a bound resource),
`client` (a session: hold, chat, vanish, resume).
"""
