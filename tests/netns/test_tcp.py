# SPDX-License-Identifier: BSD-2-Clause
"""Races of TCP with a drain, segment by segment."""
import random
import socket
import threading
import time

from bed import check, options, wait
from plan import EXPLORER4, EXPLORER6, VIP4, VIP6
from wire import ACK, GHOST4, GHOST6, PSH, RST, SYN, Wire, in_netns, tcp_packet

REQUEST = b"GET /whoami HTTP/1.1\r\nHost: www.example\r\n\r\n"
FAMILIES = ((GHOST4, VIP4), (GHOST6, VIP6))


def test_syn_race(bed):
    """The SYN went to h1, then h1 is drained and the SYN comes again: two hosts have half a connection each.  The
    client acknowledges h1's answer; the new owner must not reset it."""
    wire = Wire(bed)
    flows = []
    for ghost, vip in FAMILIES:
        for _ in range(6):  # few enough to be asked again while h1 has them half-open: 7 s (tcp_synack_retries)
            sport, seq = random.randrange(20000, 60000), random.getrandbits(32)
            wire.send(tcp_packet(ghost, sport, vip, 80, SYN, seq))
            synack = wire.receive(sport, 2, lambda s: s[4] == SYN | ACK)
            check(synack, "no answer to a SYN from %s", ghost)
            flows.append((ghost, vip, sport, seq, synack[5]))
    bed.drain("h1")
    wait("h1 to own nothing", lambda: bed.host("h1")["owned"] == 0)
    raced = 0
    for ghost, vip, sport, seq, isn in flows:
        wire.send(tcp_packet(ghost, sport, vip, 80, SYN, seq), by="up2")
        # h1's own retransmissions come meanwhile; what is not from h1 has another initial sequence number
        if wire.receive(sport, 0.2, lambda s: s[4] == SYN | ACK and s[5] != isn):
            raced += 1
        wire.send(tcp_packet(ghost, sport, vip, 80, ACK, seq + 1, isn + 1))
        wire.send(tcp_packet(ghost, sport, vip, 80, ACK | PSH, seq + 1, isn + 1, REQUEST), by="up2")
        got = wire.receive(sport, 2, lambda s: s[4] & RST or s[7])
        check(got, "%s.%d: no answer", ghost, sport)
        check(not got[4] & RST, "%s.%d was reset by the new owner's half connection", ghost, sport)
        check(b"200 OK" in got[7], "%s.%d: %r", ghost, sport, got[7][:40])
        wire.send(tcp_packet(ghost, sport, vip, 80, RST, seq + 1 + len(REQUEST)))
    wire.close()
    check(raced > 0, "no flow had two half connections: the race was not there")


def client_socket(bed, family, port):
    def make():
        s = socket.socket(family)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind((EXPLORER4 if family == socket.AF_INET else EXPLORER6, port))
        s.settimeout(4)
        return s
    return in_netns(bed.plan.netns("client"), make)


def ask(s, close=False):
    s.sendall(b"GET /whoami HTTP/1.1\r\nHost: www.example\r\n%s\r\n" % (b"Connection: close\r\n" if close else b""))
    got = b""
    while not got.endswith(b"\n") or b"\r\n\r\n" not in got or got.endswith(b"\r\n\r\n"):
        more = s.recv(4096)
        if not more:
            break
        got += more
    host = got.rsplit(b"\n", 2)[-2].decode() if got else "nothing"
    if close:
        while s.recv(4096):
            pass
        s.close()
    return host


def test_port_reused_while_its_time_wait_lives(bed):
    """h1 closed first and holds TIME_WAIT.  Its bucket moves, the client uses the port again at the new owner, the
    bucket comes back: the segments of the new connection now meet the TIME_WAIT first."""
    flows = []
    for family, vip in ((socket.AF_INET, VIP4), (socket.AF_INET6, VIP6)):
        for port in range(9000, 9030):
            s = client_socket(bed, family, port)
            s.connect((vip, 80))
            if ask(s, close=True) == "h1":
                flows.append((family, vip, port))
    check(flows, "no flow went to h1")
    left = bed.run("h1", "ss", "-Htn", "state", "time-wait")
    check(left.count("\n") >= len(flows), "h1 has no TIME_WAIT: %s", left)
    bed.drain("h1")
    wait("h1 to own nothing, on every switch", lambda: bed.host("h1")["owned"] == 0 and not any(bed.switch(x)["lag"] for x in bed.plan.switches))
    live = []
    for family, vip, port in flows:
        s = client_socket(bed, family, port)
        s.connect((vip, 80))
        host = ask(s)
        check(host != "h1", "h1 is drained, but got a new connection")
        live.append((s, host, port))
    bed.fill("h1")
    wait("h1 to own its share", lambda: bed.host("h1")["owned"] == 64)
    for _ in range(3):
        for s, host, port in live:
            try:
                again = ask(s)
            except OSError as e:
                again = str(e)
            check(again == host, "port %d was served by %s, now: %s", port, host, again)
        time.sleep(0.5)
    for s, _, _ in live:
        s.close()


def test_syn_flood_in_a_drain(bed):
    load = bed.load()
    wire, stop, sent = Wire(bed), threading.Event(), [0]

    def flood():
        while not stop.is_set() and sent[0] < 40000:
            for _ in range(50):
                port = random.randrange(1024, 65000)
                ghost, vip = FAMILIES[sent[0] & 1]
                wire.send(tcp_packet(ghost, port, vip, 80, SYN, random.getrandbits(32)), by=("up1", "up2")[sent[0] >> 1 & 1])
                sent[0] += 1
            stop.wait(0.01)

    t = threading.Thread(target=flood)
    t.start()
    try:
        time.sleep(1)
        bed.drain("h1")
        wait("h1 to own nothing", lambda: bed.host("h1")["owned"] == 0)
        time.sleep(2)
        check(not bed.safe("h1"), "h1 is called safe to reboot while half-open connections are left")
    finally:
        stop.set()
        t.join()
        wire.close()
    check(sent[0] > 5000, "only %d SYNs were sent", sent[0])
    # Half-open connections are gone 7 s after the last SYN (tcp_synack_retries), under the kernel's default after 63 s.
    # A SYN cookie can come back for a minute: that is a condition of its own, with the time that it has left.
    load.stop()
    unmet = lambda: bed.ask(verb="drain_status", kind="host", name="h1").get("conditions", [{"id": "?"}])
    wait("nothing but SYN cookies to keep h1", lambda: {c["id"] for c in unmet()} <= {"cookies"}, 25)
    check(all(c["value"] <= 60000 and "cookie" in c["text"] for c in unmet()), "a drain in a flood does not end: %s", unmet())
    load.unbroken()
