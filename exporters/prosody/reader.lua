-- Defines scrape(), the one function that a scrape calls, and calls it. It changes nothing, and walks nothing that grows with the number of
-- users. It lives in the environment that the shell keeps for this one connection: sent once, gone with the connection.
--
-- The garbage that a scrape leaves costs Prosody more than the work itself: Prosody collects when its heap has grown by 5 %,
-- and then every 8 kB more buy a step that stops it for milliseconds. So the script neither sends nor builds again what cannot
-- have changed, and it does the rest in small parts, with Prosody's own work in between.
local array = require "prosody.util.array";
local config = require "prosody.core.configmanager";
local json = require "prosody.util.json";
local lfs = require "lfs";
local moduleapi = require "prosody.core.moduleapi";
local modulemanager = require "prosody.core.modulemanager";
local monotonic = require "prosody.util.time".monotonic;
local sleep = require "prosody.util.async".sleep;
local statsmanager = require "prosody.core.statsmanager";
local valid_utf8 = require "prosody.util.encodings".utf8.valid;

---------- Turns: each pause lasts until Prosody's event loop comes round again, which takes long when the loop is slow ----------

local PATIENCE = 0.1; -- seconds that one scrape spends in pauses; when they are used up it does the rest in one go, in milliseconds
local waited = 0; -- seconds that this scrape has spent in pauses

local function counting_script()
	local installed = package.loaded["commeazy.monitoring"];
	return installed and not installed.leaving and installed or nil;
end

local function let_others_work()
	if waited > PATIENCE then return; end
	local before = monotonic();
	sleep(0);
	waited = waited + monotonic() - before;
end

-- A loop that is known to be slow gets no pause at all: even one would add a whole turn to the answer.
local function begin_with_what_is_known_of_the_loop()
	local script = counting_script();
	waited = script and script.lateness and script.lateness() or 0;
end

---------- Settings ----------

local api = setmetatable({ name = "commeazy_monitoring", _log = function () end }, { __index = moduleapi });

-- A module reads its settings once, when it is loaded, into a local variable, and ignores what the configuration says since. The variable
-- is found among the upvalues of its functions: those that it gave to Prosody, its global ones, and those that they use.
local MOST_FIELDS = 64; -- of a table that may hold functions, such as a listener; others hold a session in each field

local function find_local(name, file, value, seen)
	if seen[value] then return nil; end
	if type(value) == "table" then
		seen[value] = true;
		local count = 0;
		for _, field in next, value do
			count = count + 1;
			local found = type(field) == "function" and find_local(name, file, field, seen);
			if found or count == MOST_FIELDS then return found or nil; end
		end
	elseif type(value) == "function" and debug.getinfo(value, "S").source:sub(-#file) == file then
		seen[value] = true;
		for i = 1, debug.getinfo(value, "u").nups do
			local known, inner = debug.getupvalue(value, i);
			local found = known == name and { value, i } or find_local(name, file, inner, seen);
			if found then return found; end
		end
	end
end

local function find_in_module(name, module, loaded)
	local file, seen = "/mod_" .. module .. ".lua", {};
	for _, _, handler in loaded.module.event_handlers:iter(nil, nil, nil) do
		local found = find_local(name, file, handler, seen);
		if found then return found; end
	end
	return find_local(name, file, loaded, seen);
end

local places = setmetatable({}, { __mode = "k" }); -- a loaded module -> name of a local variable -> where it is, false if nowhere

-- What a module uses; what the configuration says where it is not loaded, or has no such variable.
local function in_use(module, name, configured)
	return function ()
		local loaded = modulemanager.get_modules(api.host)[module];
		if not loaded then return configured(); end
		places[loaded] = places[loaded] or {};
		local place = places[loaded][name];
		if place == nil then
			place = find_in_module(name, module, loaded) or false;
			places[loaded][name] = place;
		end
		if not place then return configured(); end
		local _, value = debug.getupvalue(place[1], place[2]);
		if type(value) == "number" then return value; end
		return value and 1 or 0;
	end
end

local function period(name, default)
	return function () return api:get_option_period(name, default); end
end

local function number(name, default)
	return function () return api:get_option_number(name, default); end
end

local function switch(name, default) -- default may itself be the value of an older option
	return function () return api:get_option_boolean(name, default and default()) and 1 or 0; end
end

-- For mod_smacks 0 means "never": it then reports no late acknowledgement at all.
local ack_delay = in_use("smacks", "delayed_ack_timeout", period("smacks_max_ack_delay", 30));
local function max_ack_delay()
	local seconds = ack_delay();
	return seconds and (seconds > 0 and seconds or math.huge);
end

local function where_loaded(module, read) -- a setting of a module means nothing on a host without that module
	return function () return prosody.hosts[api.host].modules[module] and read() or nil; end
end

local function encryption_default() return api:get_option_boolean("require_encryption", true); end

local function admits_every_address(list)
	for address in pairs(list) do
		if tostring(address):find("/0$") then return true; end
	end
	return false;
end

-- mod_register_limits: 1 if only the addresses of a list may register. It reads the options under their older names, too.
local function only_listed_addresses_register()
	if not api:get_option_boolean("allowlist_registration_only", api:get_option_boolean "whitelist_registration_only") then return false; end
	local older = api:get_option("registration_whitelist", {});
	return not admits_every_address(api:get_option_set("registration_allowlist", older)._items);
end

local configured_invite_only = switch("registration_invite_only", function () return true; end);
local invite_only = in_use("invites_register", "invite_only", configured_invite_only);

-- 1 if a stranger can make no account over XMPP: registration is off, or demands an invitation or an address that is listed.
local function registration_restricted()
	local loaded = prosody.hosts[api.host].modules;
	if not (loaded.register_ibr or api:get_option_boolean "allow_registration") then return 1; end
	return (loaded.invites_register and invite_only() == 1
		or loaded.register_limits and only_listed_addresses_register()) and 1 or 0;
end

local function admins()
	local count = 0;
	for _ in api:get_option_inherited_set("admins", {}) do count = count + 1; end
	return count;
end

-- Prosody's own defaults stand where the configuration is silent. `worse` picks the value to report where hosts differ.
local SETTINGS = {
	smacks_hibernation_time = {
		read = in_use("smacks", "resume_timeout", period("smacks_hibernation_time", "10 minutes")); worse = math.max;
	};
	smacks_max_ack_delay = { read = max_ack_delay, worse = math.max };
	push_max_hibernation_timeout = {
		read = where_loaded("cloud_notify", in_use("cloud_notify", "extended_hibernation_timeout",
			number("push_max_hibernation_timeout", 72 * 3600))); worse = math.max;
	};
	allow_registration = { read = switch "allow_registration", worse = math.max };
	registration_restricted = { read = registration_restricted, worse = math.min };
	c2s_require_encryption = {
		read = in_use("saslauth", "secure_auth_only", switch("c2s_require_encryption", encryption_default)); worse = math.min;
	};
	s2s_require_encryption = {
		read = in_use("s2s", "require_encryption", switch("s2s_require_encryption", encryption_default)); worse = math.min;
	};
	s2s_secure_auth = { read = in_use("s2s", "secure_auth", switch "s2s_secure_auth"), worse = math.min };
	push_notification_with_body = {
		read = in_use("cloud_notify", "include_body", switch "push_notification_with_body"); worse = math.max;
	};
	push_notification_with_sender = {
		read = in_use("cloud_notify", "include_sender", switch "push_notification_with_sender"); worse = math.max;
	};
	admins = { read = admins, worse = math.max };
};
local c2s_timeout = period("c2s_timeout", "5 minutes");
local consider_websocket_secure = in_use("websocket", "consider_websocket_secure", switch "consider_websocket_secure");

local function virtual_hosts()
	local names = array();
	for host, h in pairs(prosody.hosts) do
		if h.type == "local" then names:push(host); end
	end
	names:sort(); -- so that of two hosts with the same value always the same one is named
	return names;
end

-- Anything but a number here breaks Prosody's event loop at the next connection: no silent client is ever dropped.
local function read_timeout()
	local network = config.get("*", "network_settings");
	local value = type(network) == "table" and network.read_timeout;
	if type(network) ~= "table" or value == nil then return 14 * 60; end -- net.server's default
	return tonumber(value) or math.huge;
end

local function statistics_interval() -- as statsmanager reads it; nil when nothing is collected
	local interval, provider = config.get("*", "statistics_interval"), config.get("*", "statistics");
	return tonumber(interval) or provider and interval ~= "manual" and 60 or nil;
end

local function settings() -- name -> { value, host that has it }
	local settings = {};
	local function note(name, value, host)
		if value == math.huge then value = "+Inf"; end -- "never", which JSON cannot say
		settings[name] = array { value, host };
	end
	for name, setting in pairs(SETTINGS) do
		local worst, of;
		for _, host in ipairs(virtual_hosts()) do
			api.host = host;
			local value = setting.read();
			if value and (not worst or value ~= worst and setting.worse(worst, value) == value) then worst, of = value, host; end
		end
		if worst then note(name, worst, of); end
	end
	api.host = "*";
	note("c2s_timeout", c2s_timeout(), "*");
	note("read_timeout", read_timeout(), "*");
	local interval = statistics_interval();
	if interval then note("statistics_interval", interval, "*"); end
	if modulemanager.is_loaded("*", "websocket") then note("consider_websocket_secure", consider_websocket_secure(), "*"); end
	return settings;
end

local function authentication() -- host -> the provider in force
	local providers = {};
	for _, host in ipairs(virtual_hosts()) do
		local users = prosody.hosts[host].users;
		providers[host] = users and users.name or "none";
	end
	return providers;
end

---------- Snapshot: settings, modules, resources, and the counters of instrument.lua, as JSON ----------

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
	local script = counting_script();
	return script and script.snapshot() or nil;
end

local PARTS = {
	prosody_version = function () return prosody.version; end;
	start_time = function () return prosody.start_time; end;
	lua_heap_bytes = function () return collectgarbage("count") * 1024; end;
	process = process;
	settings = settings;
	authentication = authentication;
	modules = modules;
	virtual_hosts = virtual_hosts;
	instrument = instrument;
};

local function snapshot(registry_numbers)
	local parts = { ('"registry_numbers":"%s"'):format(registry_numbers) };
	for name, read in pairs(PARTS) do
		local text = json.encode(read());
		parts[#parts + 1] = ('"%s":%s'):format(name, text);
		if #text > 100 then let_others_work(); end
	end
	return "{" .. table.concat(parts, ",") .. "}";
end

---------- Registry: Prosody's own metrics as text once, and after that only their numbers ----------

local FAMILIES_AT_ONCE = 5;
local told = {}; -- the metrics of the last text, in the text's order

local function each_of(families)
	local i, names = 0, array.collect(pairs(families));
	return function ()
		if i > 0 and i % FAMILIES_AT_ONCE == 0 then let_others_work(); end
		i = i + 1;
		return names[i], families[names[i]];
	end
end

local function numbers(families) -- the values of all samples in the order of the last text; nil if that text no longer fits
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

-- Prints the registry's text when it is new, and returns the numbers when only they have changed. Neither: `statistics` is off.
local function registry()
	local all = statsmanager.get_metric_registry();
	if not all then
		told = {};
		return "";
	end
	local families = all:get_metric_families();
	local known = #told > 0 and numbers(families);
	if not known then print_text(families, all.render); end
	return known or "";
end

function scrape()
	begin_with_what_is_known_of_the_loop();
	return snapshot(registry());
end

return scrape();
