"""Tests of the XMPP client that need no server."""
