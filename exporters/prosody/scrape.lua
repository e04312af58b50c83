-- Asks for everything at once; nil on a connection that has not been sent reader.lua.
return scrape and scrape();
