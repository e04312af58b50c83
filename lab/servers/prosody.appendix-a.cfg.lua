-- ============================================================
-- CommEazy Prosody Production Configuration
-- Version: 2.0
-- Last updated: 2026-02-27
-- ============================================================

---------- Server-wide settings ----------

pidfile = "/var/run/prosody/prosody.pid"

admins = {
    "admin@commeazy.com";
    "bert@commeazy.com";
}

plugin_paths = { "/opt/prosody-modules" }  -- Community modules

---------- Modules ----------

modules_enabled = {
    -- Core
    "disco";
    "roster";
    "saslauth";
    "tls";

    -- Recommended
    "blocklist";
    "bookmarks";
    "carbons";
    "limits";
    "pep";
    "private";
    "smacks";
    "vcard4";
    "vcard_legacy";

    -- Mobile optimizations
    "csi_simple";
    "cloud_notify";
    "ping";

    -- Admin
    "admin_adhoc";
    "admin_shell";

    -- HTTP/WebSocket
    "websocket";

    -- Security
    "mimicking";

    -- Monitoring
    "http_openmetrics";

    -- Server info
    "version";
    "uptime";
    "time";
}

modules_disabled = {
    "offline";       -- Zero storage: geen offline berichten
    "s2s";           -- Geen federatie met externe servers
}

---------- Authentication ----------

authentication = "internal_hashed"
allow_registration = false

---------- Storage ----------

storage = "sql"

sql = {
    driver = "PostgreSQL";
    database = "prosody";
    host = "db-primary.internal.commeazy.com";
    port = 5432;
    username = "prosody";
    password = os.getenv("PROSODY_DB_PASSWORD");
}

---------- TLS ----------

ssl = {
    certificate = "/etc/letsencrypt/live/xmpp.commeazy.com/fullchain.pem";
    key = "/etc/letsencrypt/live/xmpp.commeazy.com/privkey.pem";
    ciphers = "ECDHE+AESGCM:DHE+AESGCM";
    options = {
        "no_sslv2"; "no_sslv3"; "no_tlsv1"; "no_tlsv1_1";
        "cipher_server_preference";
    };
    protocol = "tlsv1_2+";
    dhparam = "/etc/prosody/certs/dh-4096.pem";
}

c2s_require_encryption = true
s2s_require_encryption = true
s2s_secure_auth = true

---------- Rate Limits ----------

limits = {
    c2s = {
        rate = "10kb/s";
        burst = "50kb/s";
    };
}

---------- HTTP / WebSocket ----------

http_ports = { 5280 }
http_interfaces = { "0.0.0.0" }
https_ports = {}                    -- TLS via HAProxy
consider_websocket_secure = true
websocket_path = "/xmpp-websocket"
websocket_frame_buffer_limit = 32768
websocket_frame_fragment_limit = 8

---------- Connection Management ----------

network_settings = {
    read_timeout = 60;              -- Dead connection detection (60s)
}

smacks_hibernation_time = 30        -- Session hibernation (30s)
c2s_timeout = 300                   -- Pre-auth timeout (5 min)
c2s_tcp_keepalives = true
s2s_tcp_keepalives = true

---------- Push Notifications ----------

push_notification_with_body = false
push_notification_with_sender = false

---------- STUN/TURN ----------

turn_external_host = "turn.commeazy.com"
turn_external_port = 3478
turn_external_secret = os.getenv("PROSODY_TURN_SECRET")
turn_external_ttl = 86400

---------- Logging ----------

log = {
    info = "/var/log/prosody/prosody.log";
    warn = "/var/log/prosody/prosody.warn";
    error = "/var/log/prosody/prosody.err";
}

---------- Statistics ----------

statistics = "internal"
statistics_interval = 30

---------- Archiving (DISABLED - zero storage) ----------

-- mod_mam is NOT in modules_enabled
-- archive_expires_after is irrelevant

---------- Virtual Hosts ----------

VirtualHost "commeazy.com"

---------- Components ----------

-- MUC (groepschat) — indien nodig
-- Component "conference.commeazy.com" "muc"
--     modules_enabled = { "muc_mam" }  -- Alleen als groepschat MAM nodig is
