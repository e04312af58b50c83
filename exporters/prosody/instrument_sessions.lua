-- A part of instrument.lua: counts the stanzas of each session, and keeps count of the sessions by what they are. It hooks no event.
local SLICE, TICK = 100, 0.01; -- sessions looked at in one go, and seconds of other work between two slices
local SWEEP_EVERY = 60; -- seconds between two reconciliations

---------- Stanzas: one addition each ----------

-- Open sessions hold these two functions, so an upgrade keeps them and only exchanges what they call.
local stanza_filters = previous and previous.stanza_filters or { add = {} };
for direction, counts in pairs(counters.stanzas) do
	stanza_filters.add[direction] = guard(function (stanza)
		local n = counts[stanza.name];
		local xmlns = n and stanza.attr.xmlns;
		if n and (not xmlns or STREAM_NAMESPACES[xmlns]) then counts[stanza.name] = n + 1; end
	end);
	stanza_filters[direction] = stanza_filters[direction] or function (stanza)
		stanza_filters.add[direction](stanza);
		return stanza;
	end
end

local function add_filters(session)
	filters.add_filter(session, "stanzas/in", stanza_filters["in"], FIRST);
	filters.add_filter(session, "stanzas/out", stanza_filters.out, LAST);
end

local function remove_filters(session) -- true if there was one
	local from_in = filters.remove_filter(session, "stanzas/in", stanza_filters["in"]);
	return filters.remove_filter(session, "stanzas/out", stanza_filters.out) or from_in;
end

---------- Sessions: each is in exactly one place of counters.sessions ----------

-- A session resumed over another transport keeps its old websocket_request, but its close() comes from the new one.
local transport_of_close = setmetatable({}, { __mode = "k" });
local function transport_of(session)
	if session.bosh_version then return "bosh"; end
	local close = session.close;
	local transport = close and transport_of_close[close];
	if close and transport == nil then
		local source = debug.getinfo(close, "S").source;
		transport = source:find("mod_websocket", 1, true) and "websocket" or source:find("mod_c2s", 1, true) and "tcp" or false;
		transport_of_close[close] = transport;
	end
	return transport or session.websocket_request and "websocket" or "tcp";
end

-- The synthetic users break connections all day long (docs/synthetic.md), which must not look like a failing network.
local function is_synthetic(session)
	return session.username and session.username:sub(1, 10) == "synthetic-";
end

-- The operator's test phones, which the push gateway wakes (docs/push-gateway.md): synthetic-canary-voip and -fcm.
local function canary_came(host, session)
	local handler = session.username:match("^synthetic%-canary%-(%a+)$");
	if counters.canary_logins[host][handler] then count("canary_logins", host, handler); end
end

local function show_of(presence)
	if not presence then return "unavailable"; end
	local show = presence:get_child_text("show");
	return SHOWS[show] and show or "available";
end

local function key_of(session, show)
	return session.host .. " " .. transport_of(session) .. (session.hibernating and " hibernated " or " connected ")
		.. (show or show_of(session.presence)); -- not table.concat: a sweep would leave 50,000 tables to the garbage collector
end

local function place(session, key) -- key nil: the session is gone
	local old = tracked[session];
	if old == key then return false; end
	local n = counters.sessions;
	if old then n[old] = n[old] - 1; end
	if key then n[key] = (n[key] or 0) + 1; end
	tracked[session] = key;
	return true;
end

local function check(session)
	add_filters(session);
	return place(session, key_of(session));
end

-- Walks a table that changes meanwhile. Lua forgets a removed key once its slot is taken again: then begin again, so
-- that visit may see an entry twice. An entry that the walk misses because the table grew is found by the next walk.
local function sweep(t, visit, done)
	local key;
	visit = guard(visit); -- one odd session must not end the walk
	every(TICK, function ()
		for _ = 1, SLICE do
			local ok, k, v = pcall(next, t, key);
			if not ok then
				key = nil;
				return TICK;
			elseif k == nil then
				return done();
			end
			key = k;
			visit(k, v);
		end
		return TICK;
	end);
end

local function reconcile()
	local found = 0;
	local without_smacks = {};
	for host in pairs(counters.without_smacks) do without_smacks[host] = 0; end
	sweep(full_sessions, function (_, session)
		if not session.smacks then without_smacks[session.host] = (without_smacks[session.host] or 0) + 1; end
		if check(session) then found = found + 1; end
	end, function ()
		for host in pairs(counters.without_smacks) do counters.without_smacks[host] = without_smacks[host] or 0; end
		sweep(tracked, function (session)
			if full_sessions[session.full_jid] ~= session then
				place(session, nil);
				found = found + 1;
			end
		end, function ()
			counters.sweeps = counters.sweeps + 1;
			if counters.settled then
				counters.drift = counters.drift + found;
			else
				counters.adopted = counters.adopted + found;
				counters.settled = found == 0;
			end
			every(counters.settled and SWEEP_EVERY or TICK, reconcile);
		end);
	end);
end
