"""How the lab runs a server: ports, a workspace, a process and its end."""
