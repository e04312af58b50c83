"""The synthetic-user exporter: test users who do through the users' own door what users do, and measure it.

The rooms: `config` (synthetic.yml), `door` (a login that ends on the chosen node), `residents` (sessions that stay
open), `journeys`, `relay` and `leg` (what is measured), `runner` (when), `tally` (what came of it), `collector` (as
metric families).
"""
