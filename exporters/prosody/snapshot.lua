-- Asks for a snapshot; nil on a connection that has not been sent reader.lua.
return snapshot and snapshot();
