-- Counts what Prosody does, by its own events, so that a scrape only reads numbers. It changes nothing that Prosody does.
--
-- The exporter sends this text over the admin socket, and where it says `include` the text of that file. It lives in package.loaded under NAME until Prosody stops or
-- `prosody-exporter --uninstall` removes it. Rules of the house:
--   * every handler runs in a guard: it cannot raise into Prosody, and it returns nil, so Prosody goes on as if alone;
--   * no pass over all sessions in one go: Prosody has one thread, and who walks 50,000 tables stops every message;
--   * sending it twice changes nothing; a higher VERSION takes over the older one's counters and removes its hooks.
local VERSION = 2;
local NAME = "commeazy.monitoring";

local LAG_EVERY = 0.1; -- seconds between two looks at the clock
local LAG_BUCKETS = { 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10 };
local FIRST, LAST = 1000, -2000; -- before every handler of Prosody's own; after mod_websocket's filter (-1000)
local FILTERED = -999; -- after every module that may stop a push, before the bridge, which ends the event (-1000)

local previous = package.loaded[NAME];
if previous and previous.leaving then
	previous.stop();
	previous = nil;
elseif previous and previous.version >= VERSION then
	return "kept version " .. previous.version;
end

local filters = require "prosody.util.filters";
local jid_bare = require "prosody.util.jid".bare;
local time = require "prosody.util.time";
local storagemanager = require "prosody.core.storagemanager";
local timer = require "prosody.util.timer";

local monotonic, unix_time, floor = time.monotonic, time.now, math.floor;
local hosts, full_sessions = prosody.hosts, prosody.full_sessions;

local function set(words)
	local list = {};
	for word in words:gmatch("%S+") do list[word] = true; end
	return list;
end

-- RFC 6120, 4.9.3; what is not here is counted as undefined-condition, so that a label stays bounded.
local STREAM_ERRORS = set [[bad-format bad-namespace-prefix conflict connection-timeout host-gone host-unknown
	improper-addressing internal-server-error invalid-from invalid-namespace invalid-xml not-authorized not-well-formed
	policy-violation remote-connection-failed reset resource-constraint restricted-xml see-other-host system-shutdown
	undefined-condition unsupported-encoding unsupported-feature unsupported-stanza-type unsupported-version]];
local SHOWS = set "away chat dnd xa";
local STREAM_NAMESPACES = set "jabber:client jabber:server"; -- a component's stanzas pass no filter

---------- State: counters are what an upgrade keeps ----------

local counters = previous and previous.counters or {
	sessions = {}; -- "host transport connected|hibernated show" -> how many
	authentications = {}; presence_updates = {}; dead_connections = {}; pushes = {}; -- host -> label -> count
	stream_errors = {}; -- transport -> condition -> count
	stanzas = { ["in"] = { message = 0, presence = 0, iq = 0 }, out = { message = 0, presence = 0, iq = 0 } };
	registrations = {}; -- host -> push registrations of the users in `registered`
	lag = { count = 0, sum = 0, buckets = {} };
	wakeups = {}; -- host -> "call woke" -> count
	wakeup_seconds = {}; -- host -> kind -> histogram
	canary_logins = {}; -- host -> handler -> count
	without_smacks = {}; -- host -> sessions without stream management (XEP-0198), as the last reconciliation found them
	adopted = 0; drift = 0; sweeps = 0; errors = 0;
	settled = false; -- true once every session that was there before us is counted
};
for _, new in ipairs { "without_smacks", "wakeups", "wakeup_seconds", "canary_logins" } do
	counters[new] = counters[new] or {}; -- version 1 had none
end
local tracked = previous and previous.tracked or {}; -- session -> its key in counters.sessions
local registered = previous and previous.registered or {}; -- host -> user -> push registrations

local self = { version = VERSION, counters = counters, tracked = tracked, registered = registered };
local hooks, timers = {}, {}; -- what stop() has to end

local function guard(handler)
	return function (...)
		if not pcall(handler, ...) then counters.errors = counters.errors + 1; end
	end
end

local function count(family, group, label)
	local row = counters[family][group];
	if not row then
		row = {};
		counters[family][group] = row;
	end
	row[label] = (row[label] or 0) + 1;
end

local function every(delay, step) -- step returns the seconds until it wants to run again, or nil to end
	local id;
	id = timer.add_task(delay, function ()
		if not timers[id] then return; end
		local ok, again = pcall(step);
		if not ok then
			counters.errors = counters.errors + 1;
		elseif again then
			return again;
		end
		timers[id] = nil;
	end);
	timers[id] = true;
end

local function observe(histogram, edges, seconds)
	histogram.count, histogram.sum = histogram.count + 1, histogram.sum + seconds;
	for i = 1, #edges do
		if seconds <= edges[i] then
			histogram.buckets[i] = histogram.buckets[i] + 1;
			break;
		end
	end
end

-- include instrument_sessions.lua
-- include instrument_pushes.lua

---------- Events ----------

local function hook(host, name, handler, priority) -- host nil: the server's own events
	local events, guarded = (host and hosts[host] or prosody).events, guard(handler);
	events.add_handler(name, guarded, priority or FIRST);
	hooks[#hooks + 1] = { host = host, events = events, name = name, handler = guarded };
end

local function stream_closing(event)
	local session, reason = event.session, event.reason;
	if not reason or not session.conn then return; end -- an orderly end
	local condition = reason;
	if type(reason) == "table" then
		condition = reason.condition or reason.tags and reason.tags[1] and reason.tags[1].name;
	end
	count("stream_errors", transport_of(session), STREAM_ERRORS[condition] and condition or "undefined-condition");
end

-- A carbon of what the user sent to others is no message to the user, nor is one that is not from the user's own account.
local function message_in(stanza, user)
	local carbon = stanza:get_child("received", "urn:xmpp:carbons:2") or stanza:get_child("sent", "urn:xmpp:carbons:2");
	if not carbon then return stanza; end
	if stanza.attr.from ~= user then return nil; end
	local message = carbon:find("{urn:xmpp:forward:0}forwarded/{jabber:client}message");
	if carbon.name == "sent" and message and jid_bare(message.attr.to) ~= user then return nil; end
	return message;
end

-- As the bridge has it: kind_of in deploy/prosody/mod_push_http.lua.
local function push_kind(event, host)
	local stanza = event.original_stanza;
	if not stanza then return "message"; end
	local message = stanza.name == "message" and message_in(stanza, event.username .. "@" .. host);
	if not message or message.attr.type == "error" or message.attr.type == "headline" then return "other"; end
	if message:get_child("propose", "urn:xmpp:jingle-message:0") then return "call"; end -- XEP-0353
	return event.important and "message" or "other";
end

-- XEP-0078 fires no event of its own. A login that succeeds binds its resource at once; one that is still not logged in after
-- Prosody's handler has run has failed.
local logged_in = setmetatable({}, { __mode = "k" }); -- sessions whose login is counted
local function legacy_login(host, session, stanza)
	if session.type ~= "c2s_unauthed" or not stanza.tags[1]:get_child("password") then return; end
	every(0, function ()
		if session.type == "c2s_unauthed" then count("authentications", host, "failure"); end
	end);
end

local function watch_host(host)
	if hosts[host].type ~= "local" then return; end
	for family, labels in pairs {
		authentications = "success failure"; presence_updates = "available unavailable";
		dead_connections = "read_timeout hibernation_expired"; pushes = "call message other"; canary_logins = "voip fcm";
	} do
		local row = counters[family][host] or {};
		for label in pairs(set(labels)) do row[label] = row[label] or 0; end
		counters[family][host] = row;
	end
	counters.without_smacks[host] = counters.without_smacks[host] or 0;
	counters.registrations[host] = counters.registrations[host] or 0;
	registered[host] = registered[host] or {};
	watched[host] = watched[host] or {};
	counters.wakeups[host] = counters.wakeups[host] or {};
	counters.wakeup_seconds[host] = counters.wakeup_seconds[host] or {};
	for kind, labels in pairs(WAKEUPS) do
		for _, label in pairs(labels) do counters.wakeups[host][label] = counters.wakeups[host][label] or 0; end
		local histogram = counters.wakeup_seconds[host][kind] or { count = 0; sum = 0; buckets = {} };
		for i = 1, #WAKEUP_BUCKETS do histogram.buckets[i] = histogram.buckets[i] or 0; end
		counters.wakeup_seconds[host][kind] = histogram;
	end

	hook(host, "resource-bind", function (event)
		check(event.session);
		came_back(host, event.session);
		canary_came(host, event.session);
		if not logged_in[event.session] then count("authentications", host, "success"); end -- XEP-0078 tells of no login
		registrations_changed(host, event.session.username);
	end);
	hook(host, "smacks-hibernation-start", function (event) check(event.origin); end);
	hook(host, "smacks-hibernation-end", function (event)
		local session = event.resumed or event.origin;
		came_back(host, session);
		canary_came(host, session);
	end);
	hook(host, "pre-resource-unbind", function (event)
		if is_synthetic(event.session) then return; end
		if event.error == "read timeout" or tostring(event.error):find("^BOSH client silent") then
			count("dead_connections", host, "read_timeout");
		end
	end);
	hook(host, "resource-unbind", function (event)
		local session = event.session;
		if event.error == "Hibernating too long" and not is_synthetic(session) then
			count("dead_connections", host, "hibernation_expired");
		end
		-- Prosody now tells the contacts, if the client has not done so itself
		if session.presence then count("presence_updates", host, "unavailable"); end
		place(session, nil);
	end);
	hook(host, "presence/bare", function (event)
		local session, stanza = event.origin, event.stanza;
		local kind = stanza.attr.type;
		if stanza.attr.to or not tracked[session] or kind and kind ~= "unavailable" then return; end
		count("presence_updates", host, kind or "available");
		-- mod_presence notes it in the session only after us
		place(session, key_of(session, show_of(not kind and stanza)));
	end);
	hook(host, "authentication-success", function (event)
		logged_in[event.session] = true;
		count("authentications", host, "success");
	end);
	hook(host, "authentication-failure", function () count("authentications", host, "failure"); end);
	hook(host, "stanza/iq/jabber:iq:auth:query", function (event) legacy_login(host, event.origin, event.stanza); end);
	hook(host, "pre-session-close", stream_closing);
	hook(host, "cloud_notify/push", function (event)
		local kind = push_kind(event, host);
		count("pushes", host, kind);
		registrations_changed(host, event.username); -- too many errors may have removed one
		-- The bridge knows which of these it sends, and what became of them. Without it each is taken for sent.
		local push = not hosts[host].modules.push_http and event.push_info and watch(host, event.username, event.push_info, kind);
		if push then answered(push, "sent"); end
	end, FILTERED);
	hook(host, "push_http/asked", function (event)
		local push = event.push;
		push.watched = watch(host, push.username, push.info, push.kind);
	end);
	hook(host, "push_http/answered", function (event)
		local push = event.push.watched;
		if push then answered(push, event.outcome); end
	end);
	local function changed(event) registrations_changed(host, event.origin.username); end
	hook(host, "cloud_notify/registration", function (event)
		changed(event);
		came_back(host, event.origin, event.push_info);
	end);
	hook(host, "iq-set/self/urn:xmpp:push:0:disable", changed);
end

local function forget_host(host)
	for _, of_host in ipairs { stores, registered, watched, counters.registrations, counters.without_smacks } do
		of_host[host] = nil;
	end
	for i = #hooks, 1, -1 do
		if hooks[i].host == host then table.remove(hooks, i); end
	end
end

---------- Event loop lag: how late a timer runs is how long a message may have waited ----------

local due = monotonic() + LAG_EVERY;
local late = 0; -- seconds, at the last look
local function look_at_the_clock()
	local now = monotonic();
	late = math.max(now - due, 0);
	observe(counters.lag, LAG_BUCKETS, late);
	due = now + LAG_EVERY;
	return LAG_EVERY;
end

---------- Install, read, remove ----------

function self.snapshot()
	return { version = VERSION, counters = counters, lag_buckets = LAG_BUCKETS, wakeup_buckets = WAKEUP_BUCKETS };
end

function self.lateness() return math.max(late, monotonic() - due); end -- how slow the event loop is now, in seconds

function self.stop() -- nothing of us runs any more, but open sessions still hold the two stanza filters
	for id in pairs(timers) do
		timer.stop(id);
		timers[id] = nil;
	end
	for _, h in ipairs(hooks) do h.events.remove_handler(h.name, h.handler); end
	hooks = {};
	filters.remove_filter_hook(add_filters);
end

-- Takes a few slices of time: ask again until the answer is "removed". What cannot be found by a full JID (a login under
-- way, another server's stream) keeps two functions that do nothing, until it ends.
function self.uninstall()
	local function remove_all()
		local found = false;
		sweep(full_sessions, function (_, session) found = remove_filters(session) or found; end, function ()
			if found then return remove_all(); end
			package.loaded[NAME] = nil;
		end);
	end
	if not self.leaving then
		self.stop();
		self.leaving = true;
		stanza_filters.add = { ["in"] = function () end, out = function () end };
		remove_all();
	end
	return package.loaded[NAME] and "removing" or "removed";
end

self.stanza_filters = stanza_filters;
for i = 1, #LAG_BUCKETS do counters.lag.buckets[i] = counters.lag.buckets[i] or 0; end
if previous then previous.stop(); end
filters.add_filter_hook(add_filters);
hook(nil, "c2s-session-updated", function (event) check(event.session); end);
hook(nil, "pre-session-close", stream_closing);
hook(nil, "user-deleted", function (event) registrations_changed(event.host, event.username); end);
hook(nil, "host-activated", watch_host);
hook(nil, "host-deactivated", forget_host);
for host in pairs(hosts) do watch_host(host); end
every(LAG_EVERY, look_at_the_clock);
every(RECHECK_EVERY, recheck_one_user);
every(1, end_watches);
reconcile();
package.loaded[NAME] = self;
return "installed version " .. VERSION;
