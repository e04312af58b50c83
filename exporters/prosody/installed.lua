-- Says which version of instrument.lua is installed; 0 for none.
local instrument = package.loaded["commeazy.monitoring"];
return instrument and not instrument.leaving and instrument.version or 0;
