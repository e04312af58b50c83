"""The coturn exporter: allocations, traffic, STUN and TURN of one coturn, from every source that is switched on."""
