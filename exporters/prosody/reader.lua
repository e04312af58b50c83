-- Defines what a scrape calls: snapshot() and registry(). They change nothing, and walk nothing that grows with the number of
-- users. They live in the environment that the shell keeps for this one connection: sent once, gone with the connection.
--
-- What a scrape costs Prosody is less its own work than the garbage it leaves: Prosody collects when its heap has grown by 5 %,
-- and then every 8 kB more buy a step that stops it for milliseconds. So nothing is sent, made or escaped again that cannot
-- have changed, and the rest is done in small parts, with other work in between.
local array = require "prosody.util.array";
local config = require "prosody.core.configmanager";
local json = require "prosody.util.json";
local lfs = require "lfs";
local moduleapi = require "prosody.core.moduleapi";
local modulemanager = require "prosody.core.modulemanager";
local sleep = require "prosody.util.async".sleep;
local statsmanager = require "prosody.core.statsmanager";
local valid_utf8 = require "prosody.util.encodings".utf8.valid;

local function let_others_work() sleep(0); end

---------- Settings ----------

local api = setmetatable({ name = "commeazy_monitoring", _log = function () end }, { __index = moduleapi });

local function period(name, default)
	return function () return api:get_option_period(name, default); end
end

local function switch(name, default) -- default may itself be the value of an older option
	return function () return api:get_option_boolean(name, default and default()) and 1 or 0; end
end

local function encryption_default() return api:get_option_boolean("require_encryption", true); end

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
local c2s_timeout = period("c2s_timeout", "5 minutes");

local function virtual_hosts()
	local names = array();
	for host, h in pairs(prosody.hosts) do
		if h.type == "local" then names:push(host); end
	end
	return names;
end

local function settings()
	local settings = {};
	for _, host in ipairs(virtual_hosts()) do
		api.host = host;
		for name, setting in pairs(SETTINGS) do
			local value = setting.read();
			if value then settings[name] = settings[name] and setting.worse(settings[name], value) or value; end
		end
	end
	api.host = "*";
	settings.c2s_timeout = c2s_timeout();
	local network = config.get("*", "network_settings");
	settings.read_timeout = type(network) == "table" and tonumber(network.read_timeout) or 14 * 60; -- net.server's default
	local interval, provider = config.get("*", "statistics_interval"), config.get("*", "statistics");
	settings.statistics_interval = tonumber(interval) or provider and interval ~= "manual" and 60 or nil; -- as statsmanager does
	for name, value in pairs(settings) do
		if value == math.huge then settings[name] = "+Inf"; end -- "never", which JSON cannot say
	end
	return settings;
end

---------- snapshot(): what the server is set to, what it weighs, and the counters of instrument.lua, as JSON ----------

local function modules()
	local loaded = { ["*"] = array.collect(pairs(modulemanager.get_modules("*"))) };
	for host, h in pairs(prosody.hosts) do loaded[host] = array.collect(pairs(h.modules)); end
	return loaded;
end

local function resident_bytes()
	local status = io.open("/proc/self/status");
	if not status then return nil; end
	local kilobytes = status:read("a"):match("VmRSS:%s*(%d+) kB");
	status:close();
	return kilobytes and tonumber(kilobytes) * 1024;
end

local function process()
	-- Since Linux 6.2 the size of this directory is the number of open files; before, it says 0.
	local open_fds = lfs.attributes("/proc/self/fd", "size");
	return { cpu_seconds = os.clock(); resident_bytes = resident_bytes(); open_fds = open_fds ~= 0 and open_fds or nil };
end

local function instrument()
	local installed = package.loaded["commeazy.monitoring"];
	return installed and not installed.leaving and installed.snapshot() or nil;
end

local PARTS = {
	prosody_version = function () return prosody.version; end;
	start_time = function () return prosody.start_time; end;
	lua_heap_bytes = function () return collectgarbage("count") * 1024; end;
	process = process;
	settings = settings;
	modules = modules;
	virtual_hosts = virtual_hosts;
	instrument = instrument;
};

function snapshot()
	local parts = {};
	for name, read in pairs(PARTS) do
		local text = json.encode(read());
		parts[#parts + 1] = ('"%s":%s'):format(name, text);
		if #text > 100 then let_others_work(); end
	end
	return "{" .. table.concat(parts, ",") .. "}";
end

---------- registry(): Prosody's own metrics as text, and after that only their numbers; "" when `statistics` is off ----------

local FAMILIES_AT_ONCE = 5;
local told = {}; -- the metrics of the last text, in its order

local function each_of(families)
	local i, names = 0, array.collect(pairs(families));
	return function ()
		if i > 0 and i % FAMILIES_AT_ONCE == 0 then let_others_work(); end
		i = i + 1;
		return names[i], families[names[i]];
	end
end

local function numbers(families) -- those of the last text; nil if it no longer fits
	local list, known = {}, 0;
	for _, family in each_of(families) do
		for _, metric in family:iter_metrics() do
			known = known + 1;
			if told[known] ~= metric then return nil; end
			for _, _, value in metric:iter_samples() do list[#list + 1] = ("%.17g"):format(value); end
		end
	end
	return known == #told and table.concat(list, " ") or nil;
end

-- XML, which carries the answer, forbids control characters and broken UTF-8: one such label would cost us all metrics.
local function clean(text)
	text = text:gsub("[^\t\n\32-\126\128-\255]", "?");
	return valid_utf8(text) and text or (text:gsub("[\128-\255]", "?"));
end

local function print_text(families, render)
	told = {};
	for name, family in each_of(families) do
		for _, metric in family:iter_metrics() do told[#told + 1] = metric; end
		-- the registry's own way to render, applied to one of its families
		print(clean(render { get_metric_families = function () return { [name] = family }; end }));
	end
end

function registry()
	local all = statsmanager.get_metric_registry();
	if not all then return ""; end
	local families = all:get_metric_families();
	local known = numbers(families);
	if not known then print_text(families, all.render); end
	return known or "";
end
