-- Sends the pushes of mod_cloud_notify to the push gateway by HTTP (specification, Section 12), in place of the
-- XMPP stanza that mod_cloud_notify would send to a push service. It keeps no state but the requests under way, the
-- calls of the last half minute, and what each session has registered.
--
--   modules_enabled = { ...; "cloud_notify"; "push_http" }
--   push_http_url = "http://127.0.0.1:5281/push"
--   push_http_secret = os.getenv("PUSH_SECRET")  -- else the secret that the client registered
--   push_http_voip_url, push_http_fcm_url         -- only where APNs and FCM have a gateway each

module:depends("cloud_notify");

local datetime = require "prosody.util.datetime";
local http = require "prosody.net.http";
local json = require "prosody.util.json";
local st = require "prosody.util.stanza";
local time = require "prosody.util.time";
local watchdog = require "prosody.util.watchdog";

local xmlns_jingle_message = "urn:xmpp:jingle-message:0";
local xmlns_data_form = "jabber:x:data";
local xmlns_delay = "urn:xmpp:delay";
local xmlns_push = "urn:xmpp:push:0";

local url = module:get_option_string("push_http_url", "http://127.0.0.1:5281/push");
local voip_url = module:get_option_string("push_http_voip_url", url);
local fcm_url = module:get_option_string("push_http_fcm_url", url);
local secret = module:get_option_string("push_http_secret");

-- The gateway restarts within two seconds and refuses what is new while it does. A push is asked for again as long
-- as it is worth something; the TTL header tells the gateway what is left.
local worth = { call = 30; message = 60 };
local retry_after = { 0.2, 0.4, 0.8, 1.6, 3.2 }; -- seconds; the last one again and again

-- One connection is used again for the next push.
local client = http.new({ connection_pooling = true; suppress_errors = true });

-- Message pushes under way, by registration. A message push says no more than "look", and mod_cloud_notify asks for one
-- for every stanza in the queue of a client that went to sleep: one at a time is enough.
local under_way = {};

-- Calls of the last half minute, by registration. mod_cloud_notify asks for a push when a call comes, again when its
-- acknowledgement is late, and again when its session goes to sleep: it shall ring once.
local rung = {};

-- A call is a <propose/> (XEP-0353). Presence and iq are no news to wake anybody for.
local function kind_of(stanza)
	if not stanza then return "message"; end -- the event cloud-notify-ping
	if stanza.name ~= "message" then return nil; end
	return stanza:get_child("propose", xmlns_jingle_message) and "call" or "message";
end

-- How many seconds ago a call was made: mod_smacks notes that on what it keeps. One that has waited for Prosody to notice
-- that its phone is gone may have ended long ago.
local function age_of(stanza)
	local delay = stanza:get_child("delay", xmlns_delay);
	return math.max(0, delay and time.now() - (datetime.parse(delay.attr.stamp) or math.huge) or 0);
end

-- The client's publish options, by name.
local function registered_options(push_info)
	local options = {};
	local form = push_info.options and st.deserialize(push_info.options);
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
	if node == "" then return false; end
	if options.type == "voip" then return kind == "call"; end
	return not is_apns_token(node);
end

local function sessions_of(username)
	local user = prosody.hosts[module.host].sessions[username];
	return user and user.sessions or {};
end

-- The provider has given the token up. `since` (Unix time, may be nil) is when it did: a registration made later is
-- with a token that works again.
local function forget(username, push_info, since)
	if since and push_info.timestamp and push_info.timestamp > since then return; end
	local identifier = push_info.jid .. "<" .. push_info.node; -- as mod_cloud_notify composes it
	local origin = { username = username };
	for _, session in pairs(sessions_of(username)) do
		if session.push_identifier == identifier then origin = session; end
	end
	-- mod_cloud_notify does it as if the client had asked for it, so that its cache, its store and the session agree.
	local quiet = setmetatable({ send = function () end; log = function () end; }, { __index = origin; __newindex = origin });
	module:fire_event("iq-set/self/" .. xmlns_push .. ":disable", {
		origin = quiet;
		stanza = st.iq({ type = "set", id = "push_http" })
			:tag("disable", { xmlns = xmlns_push, jid = push_info.jid, node = push_info.node });
	});
	module:log("info", "A push registration was removed: its provider has given the token up");
end

local function done(push)
	if push.kind == "message" then under_way[push.identifier] = nil; end
end

local function send(push)
	local left = push.deadline - time.monotonic();
	if left < 1 then
		done(push);
		module:log("warn", "A push (%s) was given up: the gateway did not take it in time", push.kind);
		return;
	end
	push.tries = push.tries + 1;
	client:request(push.url, {
		method = "POST";
		headers = { ["Content-Type"] = "application/json"; ["TTL"] = string.format("%d", math.ceil(left)) };
		body = push.body;
	}, function (_, code, response)
		if code == 200 then
			done(push);
			local headers = response.headers;
			if headers["push-outcome"] == "unregistered" then
				forget(push.username, push.info, tonumber(headers["push-unregistered-since"]));
			end
		elseif code == 0 or code == 429 or code == 503 then -- not running, too busy, or restarting
			module:add_timer(retry_after[push.tries] or retry_after[#retry_after], function () send(push); end);
		else
			done(push);
			module:log("error", "The push gateway refused a push (%s) with status %d", push.kind, code);
		end
	end);
end

-- True if this registration has been told of the call.
local function has_rung(identifier, stanza)
	local call = stanza:get_child("propose", xmlns_jingle_message).attr.id or "";
	local key = identifier .. "<" .. (stanza.attr.from or "") .. "<" .. call;
	if rung[key] then return true; end
	rung[key] = true;
	module:add_timer(worth.call, function () rung[key] = nil; end);
	return false;
end

local function push_to(username, info, kind, stanza)
	local node = info.node;
	local options = registered_options(info);
	if not (node and is_wanted(kind, node, options)) then return; end
	local left = worth[kind] - (kind == "call" and age_of(stanza) or 0);
	if left < 1 then return; end
	local identifier = username .. "<" .. info.jid .. "<" .. node;
	if kind == "call" then
		if has_rung(identifier, stanza) then return; end
	else
		if under_way[identifier] then return; end
		under_way[identifier] = true;
	end
	send {
		kind = kind;
		url = kind == "call" and is_apns_token(node) and voip_url or fcm_url;
		identifier = identifier;
		username = username;
		info = info;
		tries = 0;
		deadline = time.monotonic() + left; -- by the wall clock, one that is set would lose the call or let it ring hours late
		body = json.encode {
			node = node;
			secret = secret or options.secret;
			type = kind;
			jid = username .. "@" .. module.host;
		};
	};
end

-- mod_cloud_notify knows one registration of a session that sleeps, the last. An iPhone has two, for calls and for messages.
module:hook("cloud_notify/registration", function (event)
	local session, info = event.origin, event.push_info;
	session.push_http_registrations = session.push_http_registrations or {};
	session.push_http_registrations[info.jid .. "<" .. (info.node or "")] = info;
end, -1);

module:hook("iq-set/self/" .. xmlns_push .. ":disable", function (event)
	local wanted = event.stanza.tags[1].attr;
	for _, session in pairs(sessions_of(event.origin.username)) do
		for identifier, info in pairs(session.push_http_registrations or {}) do
			if info.jid == wanted.jid and (not wanted.node or info.node == wanted.node) then
				session.push_http_registrations[identifier] = nil;
			end
		end
	end
end, 1);

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

module:hook("cloud_notify/push", function (event)
	local info, username, stanza = event.push_info, event.username, event.original_stanza;
	local kind = kind_of(stanza);
	event.reason = "it goes to the push gateway"; -- for mod_cloud_notify's log
	if kind then
		push_to(username, info, kind, stanza);
		local identifier = info.jid .. "<" .. (info.node or "");
		for _, session in pairs(sessions_of(username)) do
			if session.push_identifier == identifier then
				if event.important then begin_to_wait_for(session); end
				for _, other in pairs(session.push_http_registrations or {}) do
					if other.jid ~= info.jid or other.node ~= info.node then push_to(username, other, kind, stanza); end
				end
			end
		end
	end
	return true; -- no stanza to a push service
end);
