"""The Prosody exporter: reads a running Prosody through mod_admin_shell, and pings its WebSocket endpoint."""
