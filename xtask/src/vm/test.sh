#!/bin/busybox sh
# One host, one client: attach, detect, block, survive kill -9, adopt.
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
    for try in $(seq 100); do
        nsenter --net=/run/netns/app busybox wget -q -O /dev/null http://127.0.0.1:9470/ 2>/dev/null && return
        sleep 0.5
    done
    fail "the agent does not answer"
}
served() { nsenter --net=/run/netns/client busybox timeout 3 busybox wget -q -O - http://10.66.1.1/index.html 2>/dev/null | grep -q hello; }

start
grep -E 'loaded program|attached' /t/log
served || fail "an ordinary request is not served"
printf 'GET /?id=1%%27%%20UNION%%20SELECT%%20*%%20FROM%%20admin_users-- HTTP/1.0\r\nHost: app\r\n\r\n' |
    nsenter --net=/run/netns/client busybox timeout 5 busybox nc 10.66.1.1 80 > /dev/null
for try in $(seq 20); do grep -q SQL_INJECTION /t/eve.json 2>/dev/null && break; sleep 0.5; done
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
agent status || fail "the agent is not well"
echo "attached, detected, blocked, survived, adopted"
