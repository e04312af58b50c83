"""The lab: the whole stack on loopback, from real servers; `make demo`, the live tests and the drills run in it."""
