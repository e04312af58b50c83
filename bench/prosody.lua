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

-- The longest stall since the last question, in seconds: how late the timer ran at most, and the most CPU time that Prosody
-- used between two looks. The first also holds what is no stall: Prosody never sleeps for less than a millisecond, so one that
-- woke up in between is that late, and so is one whose core another process had. The second holds neither.
local longest, due = 0, monotonic() + LOOK_EVERY;
local busiest, used = 0, os.clock();
timer.add_task(LOOK_EVERY, function ()
	local now, cpu = monotonic(), os.clock();
	longest = math.max(longest, now - due);
	busiest = math.max(busiest, cpu - used);
	due, used = now + LOOK_EVERY, cpu;
	return LOOK_EVERY;
end);

function bench.longest_stall()
	local answer = longest .. " " .. busiest;
	longest, busiest, used = 0, 0, os.clock();
	return answer;
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

-- Lets the counting script watch one push to each of these users, as the bridge would say it. Returns, for each, bytes of Lua's
-- heap that are kept, bytes that were taken, and microseconds of CPU without the garbage collector's: what that costs follows
-- from the bytes that were taken and from how large the heap is.
function bench.watch_pushes(first, last)
	local events, pushes = prosody.hosts[HOST].events, {};
	for i = first, last do
		local info = { jid = "push.commeazy.com"; node = ("%032d"):format(i); resource = "phone"; timestamp = 1 };
		pushes[#pushes + 1] = { push = { username = "bench" .. i; info = info; kind = "call" }; outcome = "sent" };
	end
	collectgarbage(); collectgarbage();
	collectgarbage("stop");
	local heap, began = collectgarbage("count"), os.clock();
	for i = 1, #pushes do
		events.fire_event("push_http/asked", pushes[i]);
		events.fire_event("push_http/answered", pushes[i]);
	end
	local took, taken = os.clock() - began, collectgarbage("count") - heap;
	collectgarbage("restart");
	collectgarbage(); collectgarbage();
	local kept = collectgarbage("count") - heap;
	return ("%.0f %.0f %.3f"):format(kept * 1024 / #pushes, taken * 1024 / #pushes, took / #pushes * 1e6);
end

-- Microseconds of CPU, without the garbage collector's, for each of these users' phones to come back.
function bench.come_back(first, last)
	local events = prosody.hosts[HOST].events;
	local sessions = {};
	for i = first, last do
		sessions[#sessions + 1] = { resumed = prosody.full_sessions["bench" .. i .. "@" .. HOST .. "/phone"] };
	end
	collectgarbage("stop");
	local began = os.clock();
	for i = 1, #sessions do events.fire_event("smacks-hibernation-end", sessions[i]); end
	local took = os.clock() - began;
	collectgarbage("restart");
	return ("%.3f"):format(took / #sessions * 1e6);
end

return "ready";
