-- Asks for Prosody's own metrics; nil on a connection that has not been sent reader.lua.
return registry and registry();
