"""Lua for the admin shell: ten thousand sessions without a network sleep, get a push, and all but a few wake up."""

from __future__ import annotations

from typing import Final

from lab.servers.prosody import DOMAIN

MANY: Final = 10_000  # sessions
NEVER_BACK: Final = 500  # those of them that do not wake up
# Sessions as mod_smacks leaves them; then the events of the push bridge and of mod_smacks for each.
FALL_ASLEEP: Final = f"""
local host, sleepers = prosody.hosts["{DOMAIN}"], {{}};
package.loaded["tests.sleepers"] = sleepers;
for i = 1, {MANY} do
    local session = {{ type = "c2s"; username = "sleeper" .. i; host = "{DOMAIN}"; resource = "phone" }};
    session.hibernating = os.time();
    session.full_jid = session.username .. "@{DOMAIN}/phone";
    prosody.full_sessions[session.full_jid] = session;
    host.sessions[session.username] = {{ sessions = {{ phone = session }} }};
    host.events.fire_event("smacks-hibernation-start", {{ origin = session; queue = {{}} }});
    sleepers[i] = session;
end
return "done";
"""
PUSH_AND_WAKE: Final = f"""
local host, sleepers = prosody.hosts["{DOMAIN}"], package.loaded["tests.sleepers"];
for i, session in ipairs(sleepers) do
    local info = {{ jid = "push.commeazy.com"; node = "token" .. i; resource = "phone"; timestamp = 1 }};
    local push = {{ username = session.username; info = info; kind = i % 2 == 0 and "call" or "message" }};
    host.events.fire_event("push_http/asked", {{ push = push }});
    host.events.fire_event("push_http/answered", {{ push = push; outcome = "sent" }});
end
for i = {NEVER_BACK} + 1, {MANY} do
    sleepers[i].hibernating = nil;
    host.events.fire_event("smacks-hibernation-end", {{ origin = sleepers[i]; resumed = sleepers[i] }});
end
return "done";
"""
LEAVE: Final = f"""
for _, session in ipairs(package.loaded["tests.sleepers"]) do
    prosody.full_sessions[session.full_jid], prosody.hosts["{DOMAIN}"].sessions[session.username] = nil, nil;
end
package.loaded["tests.sleepers"] = nil;
return "done";
"""
