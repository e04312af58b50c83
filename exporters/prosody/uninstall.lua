-- Removes instrument.lua. Takes a few slices of time: ask again until the answer is "removed".
local instrument = package.loaded["commeazy.monitoring"];
return instrument and instrument.uninstall() or "removed";
