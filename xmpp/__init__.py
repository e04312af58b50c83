"""A small XMPP client for WebSocket and TCP, shared by the synthetic users and the lab.

Why it exists: the users of CommEazy connect over WebSocket, and the monitoring has to do what their phones do, down to
breaking a connection without a goodbye. Of the Python libraries, slixmpp has no WebSocket, nbxmpp is GPL and needs
GLib, and aioxmpp has had no release since 2023.

The rooms: `errors` (every way to fail, typed), `elements` (XML in and out, bounded), `transport` (what a connection
is), `websocket` and `tcp` (the two there are), `scram` (passwords), `login` (from a connection to a bound resource),
`client` (a session: hold, chat, vanish, resume).
"""
