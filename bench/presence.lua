-- For the benchmark of presence: sets read_timeout while Prosody runs, and counts how often a silent client was asked.
local HOST = "commeazy.com";
local presence = { asked = 0 };
package.loaded["commeazy.presence"] = presence;

prosody.hosts[HOST].events.add_handler("c2s-read-timeout", function () presence.asked = presence.asked + 1; end, 1);

-- Each connection takes it at its next read or timeout.
function presence.read_timeout(seconds)
	local settings = {};
	for name, value in pairs(require "prosody.core.configmanager".get("*", "network_settings") or {}) do settings[name] = value; end
	settings.read_timeout = seconds;
	require "prosody.net.server".set_config(settings);
	return "set";
end

-- Bytes of Lua's heap that are in use.
function presence.heap()
	collectgarbage(); collectgarbage();
	return ("%.0f"):format(collectgarbage("count") * 1024);
end

return "ready";
