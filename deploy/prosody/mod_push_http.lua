-- Sends the pushes of mod_cloud_notify to the push gateway by HTTP (specification, Section 12), in place of the XMPP stanza
-- that mod_cloud_notify would send to a push service. Everything it keeps is bounded, and survives a reload.
--
--   modules_enabled = { ...; "cloud_notify"; "push_http" }
--   push_http_url = "http://127.0.0.1:5281/push"
--   push_http_secret = os.getenv("PUSH_SECRET")  -- else the secret that the client registered
--   push_http_voip_url, push_http_fcm_url         -- only where APNs and FCM have a gateway each
--   push_http_messages_per_second = 80            -- the gateway's RATE_LIMIT, less some room for calls

module:depends("cloud_notify");

local cache = require "prosody.util.cache";
local datetime = require "prosody.util.datetime";
local http = require "prosody.net.http";
local jid = require "prosody.util.jid";
local json = require "prosody.util.json";
local queue = require "prosody.util.queue";
local st = require "prosody.util.stanza";
local time = require "prosody.util.time";
local timer = require "prosody.util.timer";
local watchdog = require "prosody.util.watchdog";

local xmlns_carbons = "urn:xmpp:carbons:2";
local xmlns_data_form = "jabber:x:data";
local xmlns_delay = "urn:xmpp:delay";
local xmlns_jingle_message = "urn:xmpp:jingle-message:0";
local xmlns_push = "urn:xmpp:push:0";

local url = module:get_option_string("push_http_url", "http://127.0.0.1:5281/push");
local voip_url = module:get_option_string("push_http_voip_url", url);
local fcm_url = module:get_option_string("push_http_fcm_url", url);
local secret = module:get_option_string("push_http_secret");
local messages_per_second = module:get_option_number("push_http_messages_per_second", 80);
local max_devices = module:get_option_number("push_max_devices", 5); -- mod_cloud_notify's own limit

-- util.events gives handlers of equal priority no order. Filters like mod_cloud_notify_filters use 0, and a push that they
-- stop must not be sent; the counting script of prosody-exporter counts at -999 what is left.
local BEFORE_FILTERS, AFTER_COUNTING = 100, -1000;

local WORTH = { call = 30; message = 60 }; -- seconds
-- The gateway restarts within two seconds and refuses what is new meanwhile. A push is repeated as long as it is worth
-- something; the TTL header tells the gateway what is left. Each wait varies by half, so that a burst does not come back as one.
local RETRY_AFTER = { 0.2, 0.4, 0.8, 1.6, 3.2 }; -- seconds; the last one again and again
local ANSWER_TIME = 2; -- seconds a gateway may take longer than a push is worth

-- How much one user may cause: so many at once, and one more each `pace` seconds. What has to wait for longer than it is worth
-- is not pushed. The gateway takes RATE_LIMIT pushes a second from all users together.
local LIMITS = {
	callee = { burst = 20; pace = 1.5 }; -- calls to one user
	pair = { burst = 5; pace = 6 }; -- calls from one user to one other
	caller = { burst = 30; pace = 1 }; -- calls from one user
	recipient = { burst = 20; pace = 1 }; -- message pushes to one user
	sender = { burst = 200; pace = 0.1 }; -- message pushes because of one user or room
	lane = { burst = 20; pace = 1 / messages_per_second }; -- message pushes
};
local DATABASE_PAUSE = 5; -- seconds
local USERS_REMEMBERED = 10000; -- by each limit; the one that was quiet for longest is forgotten
local MOST_UNDER_WAY, MOST_HELD = 200, 10000; -- pushes of one lane: requests to the gateway at a time, and all
local LONGEST_TOKEN, LONGEST_CALL_ID = 4096, 128; -- bytes; the gateway refuses a longer token

local REPEATED = { [0] = "unreachable"; [429] = "busy"; [503] = "restarting" }; -- status -> why the push is repeated

---------- What it counts, in Prosody's own registry ----------

local SECONDS = { 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60 };
local handover = module:metric("histogram", "handover", "seconds",
	"From mod_cloud_notify's push to the request that the gateway took", { "kind" }, { buckets = SECONDS });
local retries = module:metric("counter", "retries", "",
	"Requests that the gateway could not take and that are repeated", { "kind"; "reason" });
local refused = module:metric("counter", "refused", "",
	"Requests that the gateway refused for good; 403: the shared secret differs", { "status" });
local dropped = module:metric("counter", "dropped", "", "Pushes that were never taken by the gateway", { "kind"; "reason" });
for _, kind in ipairs { "call", "message" } do
	handover:with_labels(kind);
	for _, reason in pairs(REPEATED) do retries:with_labels(kind, reason):add(0); end
	for _, reason in ipairs { "late", "full", "limit" } do dropped:with_labels(kind, reason):add(0); end
end
for _, status in ipairs { "403", "other" } do refused:with_labels(status):add(0); end

---------- State: what a reload passes on ----------

-- A push under way and each waiting timer call the functions in `state`, so that those of the newest instance go on with it.
local state = {
	version = 1;
	lanes = {}; -- "apns" and "fcm" for calls, "message"; an outage of one provider must not take the other's place
	busy = {}; -- registrations with a message push under way. It says no more than "look", so one at a time is enough
	calls = {}; -- user -> calls of the last half minute -> registrations that rang
	turns = {}; -- limit -> user -> when the next push would be on time if there were no burst
};
for _, lane in ipairs { "apns", "fcm", "message" } do
	state.lanes[lane] = { name = lane; held = 0; under_way = 0; waiting = queue.new(MOST_HELD) };
end
for limit in pairs(LIMITS) do state.turns[limit] = cache.new(USERS_REMEMBERED); end

local last_warning = {}; -- text -> when
local function warn(text) -- at most once a minute: users can cause these
	local now = time.monotonic();
	if last_warning[text] and now - last_warning[text] < 60 then return; end
	last_warning[text] = now;
	module:log("warn", "%s", text);
end

-- Seconds until the user's next push is within the limit, and takes that place; nil, taking none, if it is more than `patience`.
local function turn(limit, who, patience)
	local pace, burst = LIMITS[limit].pace, LIMITS[limit].burst;
	local now = time.monotonic();
	local on_time = math.max(state.turns[limit]:get(who) or 0, now);
	local wait = math.max(0, on_time - now - (burst - 1) * pace);
	if wait > patience then return nil; end
	state.turns[limit]:set(who, on_time + pace);
	return wait;
end

---------- What a stanza is worth ----------

-- The message in a stanza. A carbon of what the user sent to others is none, nor is a carbon that is not from the user's own
-- account: anybody can send something that looks like one (XEP-0280, 11). Of what users send to themselves Prosody 13.0.6 makes the
-- "sent" carbon only.
local function message_in(stanza, user)
	local carbon = stanza:get_child("received", xmlns_carbons) or stanza:get_child("sent", xmlns_carbons);
	if not carbon then return stanza; end
	if stanza.attr.from ~= user then return nil; end
	local message = carbon:find("{urn:xmpp:forward:0}forwarded/{jabber:client}message");
	if carbon.name == "sent" and message and jid.bare(message.attr.to) ~= user then return nil; end
	return message;
end

-- "call", "message", or nil for what is no reason to wake a phone; and the message itself. A call is a <propose/> (XEP-0353).
-- Keep it the same as push_kind of instrument.lua, which counts.
local function kind_of(event)
	local stanza = event.original_stanza;
	if not stanza then return "message"; end -- the event cloud-notify-ping: another module wants this phone awake
	if stanza.name ~= "message" then return nil; end
	local message = message_in(stanza, event.username .. "@" .. module.host);
	if not message or message.attr.type == "error" or message.attr.type == "headline" then return nil; end
	if message:get_child("propose", xmlns_jingle_message) then return "call", message; end
	return event.important and "message" or nil, message;
end

-- Names a call: a propose may come as itself and as a carbon, and mod_cloud_notify asks for each several times.
local function call_key(message)
	local id = message:get_child("propose", xmlns_jingle_message).attr.id or "";
	return (message.attr.from or "") .. "<" .. id:sub(1, LONGEST_CALL_ID);
end

-- How many seconds ago a stanza came: mod_smacks notes that on what it keeps. A call that has waited for Prosody to notice
-- that its phone is gone may have ended long ago.
local function age_of(stanza)
	local delay = stanza and stanza:get_child("delay", xmlns_delay);
	return math.max(0, delay and time.now() - (datetime.parse(delay.attr.stamp) or math.huge) or 0);
end

---------- Registrations: mod_cloud_notify stores them; it knows one of each session, the last ----------

local store = module:open_store("cloud_notify");
local stored = cache.new(1000); -- user -> what the store has

local ask_again_at = 0;

local function registrations_of(username)
	local registrations = stored:get(username);
	if registrations then return registrations; end
	if time.monotonic() < ask_again_at then return {}; end
	local failure;
	registrations, failure = store:get(username);
	if failure then -- a database that is away is not a user without phones, and each try may hold Prosody up
		ask_again_at = time.monotonic() + DATABASE_PAUSE;
		return {};
	end
	stored:set(username, registrations or {});
	return registrations or {};
end

local function identifier_of(info) return info.jid .. "<" .. (info.node or ""); end -- as mod_cloud_notify composes it

-- Each of two may be a registration or a session.
local function same_device(one, other)
	if one.client_id or other.client_id then return one.client_id == other.client_id; end
	return one.resource ~= nil and one.resource == other.resource;
end

-- A registration as it is now: its app may have renewed it from another session.
local function current(username, info) return registrations_of(username)[identifier_of(info)] or info; end

-- The other registrations of a device: an iPhone has one for calls and one for messages.
local function siblings_of(username, info)
	local siblings, renewed = {}, current(username, info);
	for identifier, other in pairs(registrations_of(username)) do
		local is_sibling = same_device(other, info) or same_device(other, renewed);
		if identifier ~= identifier_of(info) and is_sibling and #siblings < max_devices then
			siblings[#siblings + 1] = other;
		end
	end
	return siblings;
end

-- The client's publish options, by name.
local function registered_options(info)
	local options = {};
	local form = info.options and st.deserialize(info.options);
	if form and form.attr.xmlns == xmlns_data_form then
		for field in form:childtags("field") do
			options[field.attr.var or ""] = field:get_child_text("value");
		end
	end
	return options;
end

local function is_apns_token(node)
	return #node >= 64 and not node:find("%X");
end

-- A PushKit token rings and does nothing else; FCM takes both; any other token of Apple's is nobody's here.
local function is_wanted(kind, node, options)
	if node == "" or #node > LONGEST_TOKEN then return false; end
	if options.type == "voip" then return kind == "call"; end
	return not is_apns_token(node);
end

---------- Sessions ----------

local function user_sessions(username)
	return prosody.hosts[module.host].sessions[username] or { sessions = {} };
end

-- True if mod_smacks has said that this session's acknowledgement is late, and it still is.
local function is_late(session)
	return session.awaiting_ack and session.push_http_late ~= nil and session.push_http_late == session.last_requested_h;
end

module:hook("smacks-ack-delayed", function (event)
	event.origin.push_http_late = event.origin.last_requested_h;
end, 1);

-- The calls among what a session has not acknowledged, by name; nothing of a session that is awake.
local function unheard_calls(session, username)
	local calls = {};
	local unacked = session.push_settings and (session.hibernating or is_late(session)) and session.outgoing_stanza_queue;
	for _, stanza in ipairs(unacked and unacked:count_unacked() > 0 and unacked:table() or {}) do
		local kind, message = kind_of { original_stanza = stanza; username = username };
		if kind == "call" then calls[call_key(message)] = stanza; end
	end
	return calls;
end

-- An app that starts just now has not got the calls that are on their way to a session of its that sleeps.
module:hook("resource-bind", function (event)
	local session = event.session;
	for _, other in pairs(user_sessions(session.username).sessions) do
		local calls = other ~= session and unheard_calls(other, session.username);
		if calls and next(calls) then session.push_http_unheard = calls; end
	end
end);

-- True if Prosody has sent this message to this session as well.
local function was_sent_to(session, user, message, kind)
	if kind == "call" and session.push_http_unheard and session.push_http_unheard[call_key(message)] then return false; end
	if message.attr.to == session.full_jid then return true; end
	if session.want_carbons then
		local event = { stanza = message; session = session; from_c2s = false; user_bare = jid.bare(session.full_jid) };
		if module:fire_event("carbons-should-copy", event) then return true; end
	end
	if jid.resource(message.attr.to) then return false; end
	for _, recipient in ipairs(user.top_resources or {}) do
		if recipient == session then return true; end
	end
	return false;
end

-- True if an app that is awake holds this token and has got the message: it rings by itself. Prosody asks again if that app
-- acknowledges nothing, as it has a registration of its own.
local function is_awake(username, info, message, kind)
	local user = user_sessions(username);
	for _, session in pairs(user.sessions) do
		local held = session.push_settings;
		if held and not session.hibernating and not is_late(session) and was_sent_to(session, user, message, kind) then
			if held.node == info.node then return true; end
			for _, other in pairs(registrations_of(username)) do
				if other.node == info.node and same_device(other, session) then return true; end
			end
		end
	end
	return false;
end

-- mod_cloud_notify lets a session sleep for 72 hours, and from its first push on for as long as mod_smacks would. It counts
-- only the pushes that it sends itself, so this is done here.
local function begin_to_wait_for(session)
	if not session.hibernating or session.first_hibernated_push then return; end
	session.first_hibernated_push = os.time();
	if session.hibernating_watchdog and session.original_smacks_callback and session.original_smacks_timeout then
		session.hibernating_watchdog:cancel();
		session.hibernating_watchdog = watchdog.new(session.original_smacks_timeout, session.original_smacks_callback);
	end
end

-- What a user withdraws must not ring from any of the user's sessions, and what is left must go on ringing: mod_cloud_notify asks for
-- pushes only to the registration that a session made last.
local function withdraw(username, is_withdrawn)
	for _, session in pairs(user_sessions(username).sessions) do
		local info = session.push_settings;
		if info and is_withdrawn(info) then
			local left;
			for _, other in ipairs(siblings_of(username, info)) do
				if not is_withdrawn(other) then left = other; end
			end
			if not left then begin_to_wait_for(session); end
			session.push_identifier, session.push_settings = left and identifier_of(left), left;
		end
	end
end

module:hook("cloud_notify/registration", function (event)
	stored:set(event.origin.username, nil);
end);

module:hook("iq-set/self/" .. xmlns_push .. ":disable", function (event)
	local wanted, username = event.stanza.tags[1].attr, event.origin.username;
	if not wanted.jid then return; end
	withdraw(username, function (info)
		return info.jid == wanted.jid and (not wanted.node or info.node == wanted.node);
	end);
	stored:set(username, nil);
end, 1);

module:hook_global("user-deleted", function (event)
	if event.host == module.host then stored:set(event.username, nil); end
end);

-- The provider has given the token up. `since` (Unix time, may be nil) is when it did: a registration made later is
-- with a token that works again.
local function forget(username, info, since)
	if since and info.timestamp and info.timestamp > since then return; end
	-- mod_cloud_notify does it as if the client had asked for it, so that its cache, its store and the session agree.
	module:fire_event("iq-set/self/" .. xmlns_push .. ":disable", {
		origin = { username = username; send = function () end; log = function () end };
		stanza = st.iq({ type = "set", id = "push_http" })
			:tag("disable", { xmlns = xmlns_push, jid = info.jid, node = info.node });
	});
	module:log("info", "A push registration was removed: its provider has given the token up");
end

---------- Lanes: from a push to the gateway's answer ----------

local client = http.new({ suppress_errors = true });

-- Tells prosody-exporter's counting script, which watches whether the phone comes and keeps what it knows in push.watched.
local function tell(what, push, outcome)
	module:fire_event("push_http/" .. what, { push = push; outcome = outcome });
end

local function done(push, outcome)
	tell("answered", push, outcome);
	state.lanes[push.lane].held = state.lanes[push.lane].held - 1;
	if push.kind == "message" then state.busy[push.key] = nil; end
end

local function drop(kind, reason, why) -- naming nobody
	dropped:with_labels(kind, reason):add(1);
	warn(("A push (%s) was dropped: %s"):format(kind, why));
end

local function enqueue(push)
	local lane = state.lanes[push.lane];
	lane.waiting:push(push); -- never full, as no lane holds more
	state.pump(lane);
end

local function answered(push, code, response)
	local lane = state.lanes[push.lane];
	lane.under_way = lane.under_way - 1;
	if code == 200 then
		local outcome = response.headers["push-outcome"] or "sent"; -- the specification's own gateway has no such header
		handover:with_labels(push.kind):sample(push.tried_at - push.asked_at);
		done(push, outcome);
		if outcome == "unregistered" then
			forget(push.username, push.info, tonumber(response.headers["push-unregistered-since"]));
		end
	elseif REPEATED[code] then
		retries:with_labels(push.kind, REPEATED[code]):add(1);
		local wait = (RETRY_AFTER[push.tries] or RETRY_AFTER[#RETRY_AFTER]) * (0.5 + math.random());
		timer.add_task(wait, function () state.enqueue(push); end);
	else
		done(push, "refused");
		refused:with_labels(code == 403 and "403" or "other"):add(1);
		module:log("error", "The push gateway refused a push (%s) with status %d", push.kind, code);
	end
	state.pump(lane);
end

local function post(lane, push)
	push.tried_at = time.monotonic();
	local left = push.deadline - push.tried_at;
	if left < 1 then
		done(push, "expired");
		return drop(push.kind, "late", "the gateway did not take it in time");
	end
	push.tries = push.tries + 1;
	lane.under_way = lane.under_way + 1;
	local request, overdue;
	request = client:request(push.lane == "apns" and voip_url or fcm_url, {
		method = "POST";
		headers = { ["Content-Type"] = "application/json"; ["TTL"] = string.format("%d", math.ceil(left)) };
		body = push.body;
	}, function (_, code, response)
		if overdue then timer.stop(overdue); end
		state.answered(push, code, response);
	end);
	-- net.http waits forever. Without an end to that a gateway that hangs would keep the lane, and messages to this phone.
	overdue = timer.add_task(left + ANSWER_TIME, function ()
		overdue = nil;
		if request and request.cancel then request:cancel(); end
	end);
end

local function pump(lane)
	while not lane.paused and lane.under_way < MOST_UNDER_WAY and lane.waiting:peek() do
		local wait = lane.name == "message" and turn("lane", lane.name, 1) or 0;
		local push = lane.waiting:pop();
		if wait > 0 then
			lane.paused = true;
			timer.add_task(wait, function ()
				lane.paused = false;
				state.post(lane, push);
				state.pump(lane);
			end);
		else
			post(lane, push);
		end
	end
end

---------- From mod_cloud_notify's event to a push ----------

local function caller_of(message) return jid.bare(message and message.attr.from or ""); end

-- mod_cloud_notify asks for a push when a call comes, again when its acknowledgement is late, and again when its session goes to
-- sleep, and a call may come as itself and as a carbon. It rings each registration once. Returns nil for a call too many.
local function registrations_rung(username, message)
	local key, caller = call_key(message), caller_of(message);
	local calls = state.calls[username] or {};
	if calls[key] then return calls[key]; end
	if not (turn("pair", caller .. "<" .. username, 0) and turn("caller", caller, 0) and turn("callee", username, 0)) then
		return drop("call", "limit", "one user calls, or is called, too often");
	end
	calls[key], state.calls[username] = {}, calls;
	timer.add_task(WORTH.call, function ()
		calls[key] = nil;
		if not next(calls) and state.calls[username] == calls then state.calls[username] = nil; end
	end);
	return calls[key];
end

local function push_to(username, info, kind, message, age)
	local node = info.node;
	local options = registered_options(info);
	if not (node and is_wanted(kind, node, options)) then return; end
	local left = WORTH[kind] - (kind == "call" and age or 0);
	if left < 1 or message and is_awake(username, info, message, kind) then return; end
	local lane = kind == "message" and kind or is_apns_token(node) and "apns" or "fcm";
	if state.lanes[lane].held >= MOST_HELD then return drop(kind, "full", "too many wait for the gateway"); end
	local key, wait = username .. "<" .. identifier_of(info), 0;
	if kind == "call" then
		local rung = registrations_rung(username, message);
		if not rung or rung[key] then return; end
		rung[key] = true;
	else
		if state.busy[key] then return; end
		wait = turn("sender", caller_of(message), left - 1);
		local own = wait and turn("recipient", username, left - 1);
		if not own then return drop(kind, "limit", "one user sends, or is sent, too many"); end
		wait = math.max(wait, own);
		state.busy[key] = true;
	end
	local push = {
		kind = kind;
		lane = lane;
		key = key;
		username = username;
		info = current(username, info);
		tries = 0;
		asked_at = time.monotonic();
		deadline = time.monotonic() + left; -- by the wall clock, one that is set would lose the call or let it ring hours late
		body = json.encode {
			node = node;
			secret = secret or options.secret;
			type = kind;
			jid = username .. "@" .. module.host;
		};
	};
	state.lanes[lane].held = state.lanes[lane].held + 1;
	tell("asked", push);
	if wait > 0 then
		timer.add_task(wait, function () state.enqueue(push); end);
	else
		enqueue(push);
	end
end

-- Of a session that sleeps mod_cloud_notify asks for one registration, the last. The event is fired for the device's others as
-- well, so that filters judge, and the exporter counts, each by itself.
module:hook("cloud_notify/push", function (event)
	local marks = event.original_stanza and event.original_stanza._push_notify; -- mod_cloud_notify's: who has been told
	if not marks or not kind_of(event) then return; end
	for _, sibling in ipairs(siblings_of(event.username, event.push_info)) do
		local identifier = identifier_of(sibling);
		if not marks[identifier] then
			marks[identifier] = true;
			local copy = {};
			for name, value in pairs(event) do copy[name] = value; end
			copy.push_info = sibling;
			module:fire_event("cloud_notify/push", copy);
		end
	end
end, BEFORE_FILTERS);

module:hook("cloud_notify/push", function (event)
	local kind, message = kind_of(event);
	event.reason = kind and "it goes to the push gateway" or "it is no reason to wake a phone"; -- for mod_cloud_notify's log
	if kind then
		local age = math.max(age_of(event.original_stanza), age_of(message));
		push_to(event.username, event.push_info, kind, message, age);
		if message then
			for _, session in pairs(user_sessions(event.username).sessions) do
				if session.push_identifier == identifier_of(event.push_info) then begin_to_wait_for(session); end
			end
		end
	end
	return true; -- no stanza to a push service
end, AFTER_COUNTING);

---------- Reload ----------

-- A reload of mod_cloud_notify, which reloads us, drops what it was about to ask. Calls among it are still in their sessions' queues.
local function ask_for_waiting_calls()
	for username, user in pairs(prosody.hosts[module.host].sessions) do
		for _, session in pairs(user.sessions) do
			for key, stanza in pairs(unheard_calls(session, username)) do
				if not (state.calls[username] and state.calls[username][key]) then
					stanza._push_notify = { [session.push_identifier] = true };
					module:fire_event("cloud_notify/push", {
						username = username;
						push_info = session.push_settings;
						original_stanza = stanza;
						important = true;
						notification_payload = st.stanza("notification", { xmlns = xmlns_push });
						notification_stanza = st.iq({ type = "set", id = "push_http", to = session.push_settings.jid, from = module.host });
					});
				end
			end
		end
	end
end

local function take_over(saved)
	if saved and saved.version == state.version then state = saved; end
	state.enqueue, state.answered, state.post, state.pump = enqueue, answered, post, pump;
end
take_over();

function module.save() return state; end

function module.restore(saved)
	take_over(saved);
	for _, lane in pairs(state.lanes) do pump(lane); end
end

module:add_timer(0, ask_for_waiting_calls);
