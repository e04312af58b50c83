-- What the lab's Prosody must do differently from Appendix A because it runs on loopback, unprivileged and in a
-- throw-away directory. Everything else is the specification's. lab/servers/prosody.py sets the LAB_ environment variables.

local function port(name) return Lua.tonumber(name) end

-- Files: all in the lab's directory; one log on standard output, which the lab writes to a file.
run_as_root = true -- a container's only user
pidfile = ENV_LAB_DIRECTORY .. "/prosody.pid"
data_path = ENV_LAB_DIRECTORY
admin_socket = ENV_LAB_DIRECTORY .. "/prosody.sock"
log = { info = "*console" }

-- Ports: on 127.0.0.1 only, free ones.
interfaces = { "127.0.0.1" }
c2s_ports = { port(ENV_LAB_C2S_PORT) }
http_interfaces = { "127.0.0.1" }
http_ports = { port(ENV_LAB_HTTP_PORT) }

-- The lab's own certificate authority in place of Let's Encrypt; the other TLS settings stay.
certificates = ENV_LAB_CERTIFICATES
ssl {
    certificate = ENV_LAB_CERTIFICATE;
    key = ENV_LAB_KEY;
}
ssl:value().dhparam = nil -- takes minutes to make; ECDHE needs none

-- Appendix A sets turn_external_* and does not load the module that reads them: prometheus/snippets/prosody.cfg.lua.
modules_enabled { "turn_external" }

-- The lab's own PostgreSQL, or none at all: sessions and stanzas need no database.
if ENV_LAB_DATABASE_PORT then
    sql:value().host = "127.0.0.1"
    sql:value().port = port(ENV_LAB_DATABASE_PORT)
else
    storage = "internal"
end
