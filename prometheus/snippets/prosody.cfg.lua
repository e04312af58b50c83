-- To add to the specification's prosody.cfg.lua (Appendix A).

-- The exporter reads the running server over its admin socket, as user prosody; no HTTP module is needed for it.
modules_enabled = {
    -- ... those of Appendix A ...
    "admin_shell"; -- loads admin_socket
    -- Appendix A sets turn_external_* but does not load this module, which reads them: without it no phone gets TURN credentials.
    "turn_external";
}

-- Without this Prosody's own registry is empty.
statistics = "internal"
statistics_interval = 30

-- What the rules watch (Sections 11, 12 and 15). The defaults of Prosody are far longer.
network_settings = { read_timeout = 60 }
smacks_hibernation_time = 30
smacks_max_ack_delay = 5 -- not in Appendix A; at the default of 30 s a call to a phone that vanished never rings
allow_registration = false
c2s_require_encryption = true
s2s_require_encryption = true
push_notification_with_body = false
push_notification_with_sender = false
