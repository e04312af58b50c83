#!/bin/sh
# Only the monitoring host reaches the ports that metrics are read from: the rules of deploy/nftables for hosts whose
# firewall is iptables. `start` replaces the chain COMMEAZY-MONITORING, `stop` removes it; no other rule is touched.
set -eu

# The addresses of the monitoring host, separated by commas. An empty value admits nobody.
monitoring=10.0.1.50
monitoring6=
metrics=9100,9871,9872,9873,9874,9875,9876,8404,9187,9641
push=5281,5282
chain=COMMEAZY-MONITORING

rules() {
    echo "*filter"
    echo ":$chain - [0:0]"
    echo "-A $chain -i lo -j RETURN"
    echo "-A $chain -p tcp -m multiport --dports $push -j DROP"
    for address in $(echo "$1" | tr , ' '); do
        echo "-A $chain -s $address -p tcp -m multiport --dports $metrics -j ACCEPT"
    done
    echo "-A $chain -p tcp -m multiport --dports $metrics -j DROP"
    echo COMMIT
}

start() { # iptables or ip6tables, and the addresses of its family
    rules "$2" | "$1-restore" --noflush --wait
    "$1" --wait -C INPUT -j "$chain" 2>/dev/null || "$1" --wait -I INPUT 1 -j "$chain"
}

stop() {
    "$1" --wait -D INPUT -j "$chain" 2>/dev/null || true
    "$1" --wait -F "$chain" 2>/dev/null || true
    "$1" --wait -X "$chain" 2>/dev/null || true
}

case ${1:-} in
    start) start iptables "$monitoring" && start ip6tables "$monitoring6" ;;
    stop) stop iptables && stop ip6tables ;;
    *) echo "usage: $0 start|stop" >&2; exit 2 ;;
esac
