"""The coturn exporter: allocations, traffic, STUN and TURN of one coturn, from whichever of its sources are on."""
