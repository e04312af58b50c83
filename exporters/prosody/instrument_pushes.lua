-- A part of instrument.lua: how many push registrations there are, and whether the phone came after a push. It hooks no event.
-- A push is silent if its phone has not come within what it is worth: a call half a minute, a message a minute.
local WAKE_WITHIN, MOST_PUSHES = { call = 30, message = 60 }, 20000; -- seconds; pushes that are watched at a time
local UNANSWERED = 150; -- seconds until a push that got no answer is no longer watched
local MARK = 6; -- characters of a token, as many as the gateway's log shows
local CLOCKS_DIFFER = 1; -- seconds at most between the clocks of two nodes, which date registrations in whole seconds
local WAKEUP_BUCKETS = { 0.5, 1, 2, 5, 10, 20, 30, 60 };
local READ_AGAIN, RECHECK_EVERY = 5, 0.2; -- seconds after a failed read of the storage; between two users' registrations

---------- Push registrations: Prosody keeps them in its storage, so one user at a time is read, when it may have changed ----------

local stores, reading = {}, false;
local dirty, failed = {}, {}; -- users to read, and to read again later

local function read_registrations(host, user)
	local users = registered[host];
	if not users then return; end -- the host is gone meanwhile
	stores[host] = stores[host] or storagemanager.open(host, "cloud_notify", "keyval");
	local stored, failure = stores[host]:get(user);
	if failure then error(failure); end -- what was known stays: "cannot be read" is not "none"
	local n = 0;
	for _ in pairs(stored or {}) do n = n + 1; end
	counters.registrations[host] = counters.registrations[host] + n - (users[user] or 0);
	users[user] = n > 0 and n or nil;
end

local function read_next()
	local jid, item = next(dirty);
	if not jid then
		dirty, failed = failed, dirty;
		reading = next(dirty) ~= nil;
		return reading and READ_AGAIN or nil;
	end
	dirty[jid] = nil;
	if pcall(read_registrations, item[1], item[2]) then return TICK; end
	counters.errors = counters.errors + 1;
	failed[jid] = item;
	return READ_AGAIN; -- a database that is away may hold Prosody up at each try
end

local function registrations_changed(host, user)
	if not (user and registered[host] and hosts[host].modules.cloud_notify) then return; end
	dirty[user .. "@" .. host] = { host, user };
	if not reading then
		reading = true;
		every(TICK, read_next);
	end
end

-- Another Prosody may have changed what is in a database that both use.
local host_at, user_at;
local function recheck_one_user()
	local ok, user = pcall(next, registered[host_at] or {}, user_at);
	if ok and user then
		user_at = user;
		registrations_changed(host_at, user);
	else
		ok, host_at = pcall(next, registered, host_at);
		if not ok then host_at = nil; end
		user_at = nil;
	end
	return RECHECK_EVERY;
end

---------- Did the phone come? Each push is watched until its phone is back, or until it is too late for it ----------

-- Nothing of this outlives Prosody or an upgrade.
local watched, pushes_watched = {}, 0; -- host -> user -> the user's latest push, whose `other` is the one before; how many
local ends = {}; -- second -> pushes to look at
local unheard, judging = {}, false; -- pushes whose phones did not come here, to be judged one by one
local WAKEUPS = {}; -- kind -> result -> its label in counters.wakeups
for kind in pairs(WAKE_WITHIN) do
	WAKEUPS[kind] = {};
	for result in pairs(set "woke silent superseded") do WAKEUPS[kind][result] = kind .. " " .. result; end
end

-- The last characters of its token tell a registration from the user's others, so no token is kept and none is hashed. Prosody's own
-- objects cannot do that: the table of a registration holds the token, and is a new one each time an app registers or the storage is read; and
-- a phone that is offline has no session, and comes back with another.
local function mark_of(info) return info.node and info.node:sub(-MARK) or ""; end

local function conclude(push, result, seconds)
	count("wakeups", push.host, WAKEUPS[push.kind][result]);
	if seconds then observe(counters.wakeup_seconds[push.host][push.kind], WAKEUP_BUCKETS, seconds); end
end

local function latest_of(push) -- what is watched of its registration and kind
	local latest = watched[push.host] and watched[push.host][push.user];
	while latest and not (latest.mark == push.mark and latest.kind == push.kind) do latest = latest.other; end
	return latest;
end

local function put(push)
	local users = watched[push.host];
	push.other, users[push.user] = users[push.user], push;
	pushes_watched = pushes_watched + 1;
end

local function unwatch(push) -- false if it was not watched any more
	local users = watched[push.host];
	local found, before = users and users[push.user];
	while found and found ~= push do before, found = found, found.other; end
	if not found then return false; end
	if before then before.other = push.other; else users[push.user] = push.other; end
	push.other = nil;
	pushes_watched = pushes_watched - 1;
	return true;
end

local function look_after(push, at) -- end_watches() does, in the second that follows
	local second = floor(at) + 1;
	local pushes = ends[second];
	if pushes then pushes[#pushes + 1] = push; else ends[second] = { push }; end
end

-- A newer push of the same kind takes the place of the one before. The first of such a row is kept beside it until its time is
-- over, or a phone that is called again and again and never comes would never be silent.
local function watch(host, user, info, kind)
	if not (watched[host] and WAKE_WITHIN[kind]) then return; end
	local push = { -- and `sent`, once it is: when. These are eight; a ninth would double the table's memory
		host = host; user = user; kind = kind; mark = mark_of(info); at = monotonic();
		client_id = info.client_id; resource = info.resource; registered = info.timestamp;
	};
	local before = latest_of(push);
	if before and unwatch(before) then
		push.first = before.first or before.sent and before or nil;
		if before.first and before.sent then conclude(before, "superseded"); end
	end
	if pushes_watched >= MOST_PUSHES then return; end
	put(push);
	look_after(push, push.at + WAKE_WITHIN[kind]);
	return push;
end

local function end_watch(push) -- nobody came in time
	local latest = latest_of(push);
	if latest and latest.first == push then
		latest.first = nil;
	elseif not unwatch(push) then
		return;
	elseif push.first then
		put(push.first); -- this one was never sent; what was before it still counts
	end
	if push.sent then unheard[#unheard + 1] = push; end
end

-- The provider has the push, or never gets it; then it wakes nobody, and the gateway counts why.
local function answered(push, outcome)
	if outcome == "sent" then push.sent = monotonic(); else end_watch(push); end
end

local function is_of(push, session)
	if push.client_id or session.client_id then return push.client_id == session.client_id; end
	return push.resource ~= nil and push.resource == session.resource;
end

-- A phone is back when it resumes its session, logs in as the same device, or registers the same token.
local function came_back(host, session, info)
	local push = watched[host] and watched[host][session.username];
	local mark = push and info and mark_of(info);
	while push do
		local other = push.other; -- which unwatch() clears
		if (push.mark == mark or is_of(push, session)) and unwatch(push) then
			conclude(push, "woke", monotonic() - push.at);
			if push.first then conclude(push.first, "superseded"); end
		end
		push = other;
	end
end

-- The phone may have come to another node that shares the database, or its connection may have come to life again. Such a
-- node dates the registration that an app renews. What is older says nothing of this push: mod_cloud_notify reads a user's
-- registrations once, so `push.registered` may be from a visit long before the last one.
local function judge(push)
	local user = hosts[push.host] and hosts[push.host].sessions[push.user];
	for _, session in pairs(user and user.sessions or {}) do
		if is_of(push, session) and not session.hibernating and not session.awaiting_ack then return "woke"; end
	end
	stores[push.host] = stores[push.host] or storagemanager.open(push.host, "cloud_notify", "keyval");
	local stored, failure = stores[push.host]:get(push.user);
	if failure then error(failure); end -- not known, so counted as nothing
	local asked = floor(unix_time() - (monotonic() - push.at));
	for _, info in pairs(stored or {}) do
		local renewed = info.timestamp ~= push.registered and info.timestamp or 0;
		if mark_of(info) == push.mark and renewed >= asked - CLOCKS_DIFFER then
			return "woke", math.max(0, renewed - asked);
		end
	end
	return "silent";
end

local function judge_next()
	local push = table.remove(unheard);
	judging = push ~= nil;
	if not push then return nil; end
	local ok, result, seconds = pcall(judge, push);
	if ok then
		conclude(push, result, seconds);
	else
		counters.errors = counters.errors + 1;
	end
	return TICK;
end

-- While there is no answer it looks again after `within`; a push that is answered meanwhile cannot be silent sooner.
local function look_at(push, second)
	local within = WAKE_WITHIN[push.kind];
	local late = push.sent and push.sent + within or push.at + UNANSWERED;
	if late < second then end_watch(push); else look_after(push, math.min(late, second + within)); end
end

local ended_until = floor(monotonic());
local function end_watches()
	for second = ended_until + 1, floor(monotonic()) do
		for _, push in ipairs(ends[second] or {}) do look_at(push, second); end
		ends[second], ended_until = nil, second;
	end
	if #unheard > 0 and not judging then
		judging = true;
		every(TICK, judge_next);
	end
	return 1;
end
