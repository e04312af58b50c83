-- Prints Prosody's own metrics, all of them, as they stand; nothing when `statistics` is off. Rendering them in one go would
-- stop the main loop for a millisecond and more, so it is done a few families at a time, with other work in between.
local FAMILIES_AT_ONCE = 5;

local sleep = require "prosody.util.async".sleep;
local registry = require "prosody.core.statsmanager".get_metric_registry();
local valid_utf8 = require "prosody.util.encodings".utf8.valid;

-- XML, which carries the answer, forbids control characters and broken UTF-8: one such label would cost us all metrics.
local function clean(text)
	text = text:gsub("[^\t\n\32-\126\128-\255]", "?");
	return valid_utf8(text) and text or (text:gsub("[\128-\255]", "?"));
end

local slices, last = {}, nil;
for name, family in pairs(registry and registry:get_metric_families() or {}) do
	if not last or last.size == FAMILIES_AT_ONCE then
		last = { size = 0; families = {} };
		slices[#slices + 1] = last;
	end
	last.families[name], last.size = family, last.size + 1;
end
for _, slice in ipairs(slices) do
	-- the registry's own way to render, applied to a few of its families
	local few = setmetatable({ get_metric_families = function () return slice.families; end }, { __index = registry });
	print(clean(few:render()));
	sleep(0);
end
return "";
