-- Reads one snapshot as JSON: what the running server is set to, what it weighs, and the counters of instrument.lua if
-- that is installed. It changes nothing and walks nothing that grows with the number of users.
local config = require "prosody.core.configmanager";
local json = require "prosody.util.json";
local moduleapi = require "prosody.core.moduleapi";

local function api(host)
	return setmetatable({ host = host, name = "commeazy_monitoring", _log = function () end }, { __index = moduleapi });
end

local function period(name, default)
	return function (host) return api(host):get_option_period(name, default); end
end

local function switch(name, default) -- default may itself be the value of an older option
	return function (host)
		local value = api(host):get_option_boolean(name, default and default(host));
		return value and 1 or 0;
	end
end

local function encryption_default(host) return api(host):get_option_boolean("require_encryption", true); end

-- Prosody's own defaults stand where the configuration is silent. `worse` picks the one to report where hosts differ.
local SETTINGS = {
	smacks_hibernation_time = { read = period("smacks_hibernation_time", "10 minutes"), worse = math.max };
	allow_registration = { read = switch "allow_registration", worse = math.max };
	c2s_require_encryption = { read = switch("c2s_require_encryption", encryption_default), worse = math.min };
	s2s_require_encryption = { read = switch("s2s_require_encryption", encryption_default), worse = math.min };
	s2s_secure_auth = { read = switch "s2s_secure_auth", worse = math.min };
	push_notification_with_body = { read = switch "push_notification_with_body", worse = math.max };
	push_notification_with_sender = { read = switch "push_notification_with_sender", worse = math.max };
};

local settings, modules, virtual_hosts = {}, { ["*"] = {} }, {};
for host, h in pairs(prosody.hosts) do
	modules[host] = {};
	for name in pairs(h.modules) do table.insert(modules[host], name); end
	if h.type == "local" then
		table.insert(virtual_hosts, host);
		for name, setting in pairs(SETTINGS) do
			local value = setting.read(host);
			if value then settings[name] = settings[name] and setting.worse(settings[name], value) or value; end
		end
	end
end
for name in pairs(require "prosody.core.modulemanager".get_modules("*")) do table.insert(modules["*"], name); end

local network = config.get("*", "network_settings");
settings.read_timeout = type(network) == "table" and tonumber(network.read_timeout) or 14 * 60; -- net.server's default
settings.c2s_timeout = api("*"):get_option_period("c2s_timeout", "5 minutes");
settings.statistics_interval = tonumber(config.get("*", "statistics_interval")) or config.get("*", "statistics") and 60 or nil;
for name, value in pairs(settings) do
	if value == math.huge then settings[name] = "+Inf"; end -- "never", which JSON cannot say
end

local function resident_bytes()
	local status = io.open("/proc/self/status");
	if not status then return nil; end
	local kilobytes = status:read("a"):match("VmRSS:%s*(%d+) kB");
	status:close();
	return kilobytes and tonumber(kilobytes) * 1024;
end

-- Since Linux 6.2 the size of this directory is the number of open files; before, it says 0.
local open_fds = require "lfs".attributes("/proc/self/fd", "size");

local instrument = package.loaded["commeazy.monitoring"];
return json.encode {
	prosody_version = prosody.version;
	start_time = prosody.start_time;
	process = {
		cpu_seconds = os.clock(); resident_bytes = resident_bytes(); open_fds = open_fds ~= 0 and open_fds or nil;
	};
	lua_heap_bytes = collectgarbage("count") * 1024;
	settings = settings;
	modules = modules;
	virtual_hosts = virtual_hosts;
	instrument = instrument and not instrument.leaving and instrument.snapshot() or nil;
};
