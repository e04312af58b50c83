-- For the benchmark: makes bound sessions without a network, and watches the main loop's stalls from inside.
local timer = require "prosody.util.timer";
local monotonic = require "prosody.util.time".monotonic;
local sessionmanager = require "prosody.core.sessionmanager";
local st = require "prosody.util.stanza";

local bench = {};
package.loaded["commeazy.bench"] = bench;

local HOST, LOOK_EVERY = "commeazy.com", 0.001;
local connections = require "prosody.core.moduleapi".shared({ name = "bench", host = "*" }, "/*/c2s/sessions");
local function nothing() return true; end

function bench.populate(first, last)
	for i = first, last do
		local conn = { write = nothing; close = nothing; pause = nothing; resume = nothing; ip = function () return "127.0.0.1"; end };
		local session = sessionmanager.new_session(conn);
		session.host, session.close = HOST, nothing;
		assert(sessionmanager.make_authenticated(session, "bench" .. i));
		assert(sessionmanager.bind_resource(session, "phone"));
		connections[conn] = session; -- as mod_c2s keeps them, so that c2s:count() sees what it would see
	end
	return "populated";
end

-- The longest stall since the last question, in seconds.
local longest, due = 0, monotonic() + LOOK_EVERY;
timer.add_task(LOOK_EVERY, function ()
	local now = monotonic();
	longest = math.max(longest, now - due);
	due = now + LOOK_EVERY;
	return LOOK_EVERY;
end);

function bench.longest_stall()
	local answer = longest;
	longest = 0;
	return tostring(answer);
end

-- Nanoseconds that the filters of one session take for one incoming stanza.
function bench.filter_cost(rounds)
	local _, session = next(prosody.full_sessions);
	local stanza = st.message({ to = "a@" .. HOST, type = "chat" }, "Hello");
	local filter = session.filter;
	local began = os.clock();
	for _ = 1, rounds do filter("stanzas/in", stanza); end
	return tostring((os.clock() - began) / rounds * 1e9);
end

return "ready";
