# SPDX-License-Identifier: BSD-2-Clause
"""SYN cookies in a drain, by the kernel's own clock: the longest of all tests, so it is among the first to begin."""
import random
import time

from bed import check, wait
from test_tcp import FAMILIES, REQUEST
from wire import ACK, PSH, RST, SYN, Wire, tcp_packet


def test_drain_ends_after_cookies(bed):
    """In real time: h1 answers every SYN with a cookie, so a connection may exist in a client's next word only.  The drain waits for
    as long as one may come back, serves the one that does, and ends by itself a minute after it."""
    bed.run("h1", "sysctl", "-qw", "net.ipv4.tcp_syncookies=2")
    wire, cookies = Wire(bed), []
    for ghost, vip in FAMILIES * 20:
        sport, seq = random.randrange(20000, 60000), random.getrandbits(32)
        wire.send(tcp_packet(ghost, sport, vip, 80, SYN, seq))
        synack = wire.receive(sport, 2, lambda s: s[4] == SYN | ACK)
        check(synack, "no answer to a SYN from %s", ghost)
        cookies.append((ghost, vip, sport, seq, synack[5]))
    bed.run("h1", "sysctl", "-qw", "net.ipv4.tcp_syncookies=1")  # or its own health checks would get fresh ones for ever
    half_open = bed.run("h1", "ss", "-Htn", "state", "syn-recv").strip()
    check(not half_open, "h1 keeps half-open connections, so it sent no cookies: %s", half_open)
    conditions = lambda: {c["id"]: c for c in bed.ask(verb="drain_status", kind="host", name="h1").get("conditions", [])}
    bed.drain("h1")
    wait("h1 to own nothing, and to have nothing but cookies", lambda: set(conditions()) == {"sheltered", "cookies"}, 15)
    came_back = 0
    for ghost, vip, sport, seq, isn in cookies:
        wire.send(tcp_packet(ghost, sport, vip, 80, ACK, seq + 1, isn + 1), by="up2")
        wire.send(tcp_packet(ghost, sport, vip, 80, ACK | PSH, seq + 1, isn + 1, REQUEST), by="up2")
        got = wire.receive(sport, 3, lambda s: s[4] & RST or s[7])
        check(got and not got[4] & RST and b"200 OK" in got[7], "a cookie that came back in the drain: %s", got)
        came_back += b"X-Host: h1" in got[7]
        wire.send(tcp_packet(ghost, sport, vip, 80, RST, seq + 1 + len(REQUEST)))
    last = time.monotonic()
    wire.close()
    check(came_back, "none of them was h1's: nothing is shown")
    time.sleep(45)
    left = conditions().get("cookies")
    check(not bed.safe("h1") and left and left["value"] < 20000, "45 s after the last cookie: %s", conditions())
    bed.drained("h1", seconds=30)
    check(time.monotonic() - last > 55, "h1 was called safe %.0f s after the last cookie", time.monotonic() - last)
