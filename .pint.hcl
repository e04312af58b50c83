# cloudflare/pint looks at the generated rules (`make lint`). A check that is switched off says why.
parser {
  include = ["alerts/rules/.*"]
}

# It shall always fire: its absence is the alarm.
rule {
  match {
    name = "Watchdog"
  }
  disable = ["alerts/comparison"]
}
