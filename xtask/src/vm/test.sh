#!/bin/busybox sh
# One host, one client, joined by a cable and by WireGuard over it: attach, detect, block, survive kill -9, adopt.
export PATH=/bin:/sbin
fail() { echo "FAILED: $*"; tail -n 30 /t/log; agent status; agent block list; figures; exit 1; }
figures() {
    nsenter --net=/run/netns/app busybox wget -q -O - --header "Authorization: Bearer $(cat /t/api.token)" \
        http://127.0.0.1:9470/metrics | grep -v '^#' | grep -v ' 0$'
}

/sbin/ip netns add app && /sbin/ip netns add client || fail "no network namespaces"
/sbin/ip link add client1 netns app type veth peer name eth0 netns client || fail "no veth"
for side in "app client1 10.66.1.1/24" "client eth0 10.66.1.2/24"; do
    set -- $side
    /sbin/ip -netns "$1" link set lo up
    /sbin/ip -netns "$1" address add "$3" dev "$2"
    /sbin/ip -netns "$1" link set "$2" up
done
# A device whose packets have no Ethernet header, which hides from the one below it what it carries.
umask 077
for side in app client; do wg genkey > /t/key-$side; done
for side in "app client 1 2" "client app 2 1"; do
    set -- $side
    /sbin/ip -netns "$1" link add wire type wireguard || fail "no WireGuard"
    nsenter --net=/run/netns/"$1" wg set wire private-key /t/key-"$1" listen-port 51820 \
        peer "$(wg pubkey < /t/key-"$2")" allowed-ips 172.30.8."$4"/32 endpoint 10.66.1."$4":51820 || fail "no keys"
    /sbin/ip -netns "$1" address add 172.30.8."$3"/24 dev wire
    /sbin/ip -netns "$1" link set wire up
done
echo hello > /www/index.html
nsenter --net=/run/netns/app busybox httpd -f -p 80 -h /www &

cat > /t/sensor.toml <<X
[capture]
ring_bytes = 1048576
[response]
enforce = true
block_secs = 600
[alerts]
file = "/t/eve.json"
[store]
path = "/t/sensor.db"
[api]
token_file = "/t/api.token"
[service]
runtime_dir = "/t/run"
X
agent() { nsenter --net=/run/netns/app sensor-agent "$@" --config /t/sensor.toml; }
start() {
    nsenter --net=/run/netns/app sensor-agent run --config /t/sensor.toml >> /t/log 2>&1 &
    pid=$!
    for try in $(seq 600); do
        nsenter --net=/run/netns/app busybox wget -q -O /dev/null http://127.0.0.1:9470/ 2>/dev/null && return
        sleep 0.5
    done
    fail "the agent does not answer"
}
served_at() { nsenter --net=/run/netns/client busybox timeout 5 busybox wget -q -O - "http://$1/index.html" 2>/dev/null | grep -q hello; }
served() { served_at 10.66.1.1; }
attack() {
    printf 'GET /?id=1%%27%%20UNION%%20SELECT%%20*%%20FROM%%20admin_users-- HTTP/1.0\r\nHost: app\r\n\r\n' |
        nsenter --net=/run/netns/client busybox timeout 5 busybox nc "$1" 80 > /dev/null
}

start
grep -E 'loaded program|attached' /t/log
served || fail "an ordinary request is not served"
attack 10.66.1.1
for try in $(seq 60); do grep -q SQL_INJECTION /t/eve.json 2>/dev/null && break; sleep 0.5; done
grep -q SQL_INJECTION /t/eve.json || fail "the attack was not reported"
grep -q '"process":{"pid":[0-9]*,"name":"busybox".*"source":"accept"' /t/eve.json || fail "the process behind the connection is not named"
agent block list | grep 10.66.1.2 || fail "the attacker is not blocked"
served && fail "the attacker is still served"
kill -9 $pid
served && fail "the block died with the agent"
start
served && fail "the block was lost by the new agent"
[ "$(agent block list | grep -c 10.66.1.2)" = 1 ] || fail "the new agent lost the entry"
agent block remove 10.66.1.2 || fail "the entry cannot be removed"
served || fail "not served after the block was removed"
served_at 172.30.8.1 || fail "an ordinary request over WireGuard is not served"
attack 172.30.8.1
for try in $(seq 60); do agent block list | grep -q 172.30.8.2 && break; sleep 0.5; done
agent block list | grep 172.30.8.2 || fail "the attacker over WireGuard is not blocked"
served_at 172.30.8.1 && fail "the attacker over WireGuard is still served"
served || fail "the cable below is cut too"
agent status || fail "the agent is not well"
echo "attached, detected, blocked, survived, adopted, by WireGuard too"
