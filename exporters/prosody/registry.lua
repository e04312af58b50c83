-- Renders Prosody's own metrics, all of them, as they stand; empty when `statistics` is off. XML, which carries the
-- answer, forbids control characters and broken UTF-8, and one label value with either would cost us all metrics.
local registry = require "prosody.core.statsmanager".get_metric_registry();
local text = registry and registry:render() or "";
text = text:gsub("[^\t\n\32-\126\128-\255]", "?");
return require "prosody.util.encodings".utf8.valid(text) and text or (text:gsub("[\128-\255]", "?"));
