# SPDX-License-Identifier: BSD-2-Clause
"""Packets that are not a plain segment, through a POP in a drain: those of a connection reach it, the others break nothing."""
import hashlib
import ipaddress
import random
import re
import socket
import struct
import time

from bed import check, wait
from plan import EXPLORER4, EXPLORER6, VIP4, VIP6
from services import PATTERN_BYTES, pattern
from wire import ACK, FIN, GHOST4, GHOST6, PSH, RST, SYN, Wire, checksum, in_netns, tcp_packet

REQUEST = b"GET /whoami HTTP/1.1\r\nHost: www.example\r\nX-Filler: %s\r\n\r\n" % (b"f" * 200)
FAMILIES = {4: (GHOST4, VIP4), 6: (GHOST6, VIP6)}


# --- shapes of one segment: packet -> packets ----------------------------------------------------------------
def v4(head, protocol, payload, options=b"", ident=0, frag=0):
    """An IPv4 packet with the addresses of `head`."""
    options += b"\0" * (-len(options) % 4)
    h = struct.pack("!BBHHHBBH", 0x40 | 5 + len(options) // 4, 0, 20 + len(options) + len(payload), ident, frag, 64, protocol, 0)
    h += head[12:20] + options
    return h[:10] + struct.pack("!H", checksum(h)) + h[12:] + payload


def v6(head, first, payload):
    return struct.pack("!IHBB", 6 << 28, len(payload), first, 64) + head[8:40] + payload


def padding(following):
    """A hop-by-hop or destination header that holds nothing but padding (of which Linux allows 7 bytes in one)."""
    return struct.pack("!BBBB", following, 0, 1, 4) + bytes(4)


def options(p):
    return [v4(p, 6, p[20:], b"\x01" * 40)]


def record_route(p):
    return [v4(p, 6, p[20:], b"\x07\x27\x04" + bytes(36))]


def fragments(p, cut=64):
    ident = random.randrange(1, 65536)
    if p[0] >> 4 == 4:
        body = p[20:]
        return [v4(p, 6, body[:cut], ident=ident, frag=0x2000), v4(p, 6, body[cut:], ident=ident, frag=cut // 8)]
    body = p[40:]
    head = lambda at, more: struct.pack("!BBHI", 6, 0, at | more, ident)
    return [v6(p, 44, head(0, 1) + body[:cut]), v6(p, 44, head(cut, 0) + body[cut:])]


def fragments_last_first(p):
    return fragments(p)[::-1]


def destination_options(p):
    return [v6(p, 60, padding(6) + p[40:])]


def hop_by_hop(p):
    return [v6(p, 0, padding(6) + p[40:])]


def chain(p):
    return [v6(p, 0, padding(60) + padding(60) + padding(6) + p[40:])]


def atomic_fragment(p):
    return [v6(p, 44, struct.pack("!BBHI", 6, 0, 0, random.getrandbits(32)) + p[40:])]


SHAPES = {4: (options, record_route, fragments, fragments_last_first),
          6: (destination_options, hop_by_hop, chain, atomic_fragment, fragments, fragments_last_first)}


class Ghost:
    """A connection whose client is this test."""

    def __init__(self, wire, family, port=None):
        self.wire, self.family = wire, family
        self.src, self.vip = FAMILIES[family]
        self.port, self.seq = port or random.randrange(20000, 60000), random.getrandbits(31)
        wire.send(tcp_packet(self.src, self.port, self.vip, 80, SYN, self.seq, options=b"\x02\x04\x05\x78"))
        got = wire.receive(self.port, 3, lambda s: s[4] == SYN | ACK)
        check(got, "no answer to a SYN from %s", self.src)
        self.seq, self.ack = self.seq + 1, got[5] + 1
        self.host = self.ask()

    def ask(self, shape=lambda p: [p], by=("up1", "up2")):
        """Sends a request in packets of that shape; the host that answers, or what came instead."""
        p = tcp_packet(self.src, self.port, self.vip, 80, ACK | PSH, self.seq, self.ack, REQUEST)
        got = None
        for attempt in range(3):
            for i, packet in enumerate(shape(p)):
                self.wire.send(packet, by=by[i % len(by)])
            got = self.wire.receive(self.port, 1.5, lambda s: s[4] & RST or (s[7] and s[5] == self.ack & 0xFFFFFFFF))
            if got:
                break
        if not got:
            return "silence"
        if got[4] & RST:
            return "reset"
        self.seq += len(REQUEST)
        self.ack += len(got[7])
        self.wire.send(tcp_packet(self.src, self.port, self.vip, 80, ACK, self.seq, self.ack))
        found = re.search(rb"X-Host: (\w+)", got[7])
        return found.group(1).decode() if found else "nonsense"

    def end(self):
        self.wire.send(tcp_packet(self.src, self.port, self.vip, 80, RST | ACK, self.seq, self.ack))


def ghosts_on(wire, family, host, count):
    found = []
    for _ in range(count * 16):
        g = Ghost(wire, family)
        if g.host == host:
            found.append(g)
            if len(found) == count:
                return found
        else:
            g.end()
    check(False, "only %d connections went to %s", len(found), host)


def test_shapes_of_a_connection_in_a_drain(bed):
    """Options, extension headers, fragments: a connection of h1 is found in each, before and after its bucket has moved."""
    wire, load = Wire(bed), bed.load(long=20, rate=20)
    flows = [(g, shape) for family, shapes in SHAPES.items() for g, shape in zip(ghosts_on(wire, family, "h1", len(shapes)), shapes)]
    for when in ("at rest", "in a drain"):
        for g, shape in flows:
            got = g.ask(shape)
            check(got == "h1", "IPv%d %s %s: a connection of h1 got %s", g.family, shape.__name__, when, got)
        if when == "at rest":
            bed.drain("h1")
            wait("h1 to own nothing", lambda: bed.host("h1")["owned"] == 0)
    with bed.flapping():
        for g, shape in flows:
            check(g.ask(shape) == "h1", "IPv%d %s is lost when switches change", g.family, shape.__name__)
            check(g.ask() == "h1", "IPv%d: a plain segment after %s is lost", g.family, shape.__name__)
    for g, _ in flows:
        g.end()
    wire.close()
    bed.drained("h1")
    load.unbroken()


def test_path_mtu_through_a_drain(bed):
    """A path shrinks in a drain: "packet too big" quotes a connection of h1 whose bucket has moved, and must get there."""
    expect, count, begun = hashlib.sha256(pattern(PATTERN_BYTES)).hexdigest(), 64, time.monotonic()
    for h in bed.plan.hosts:  # the control of this test: without the ICMP error nobody would learn of it
        bed.run(h, "sysctl", "-q", "-w", "net.ipv4.tcp_mtu_probing=0")
    loads = []
    for i in range(count):
        vip, source = ((VIP4, EXPLORER4), ("[%s]" % VIP6, EXPLORER6))[i & 1]
        argv = ["curl", "-s", "-m", "30", "--interface", source, "-D", bed.machine.path("client", "head%d" % i),
                "-o", bed.machine.path("client", "body%d" % i), "http://%s/pattern?rate=120k" % vip]
        loads.append(bed.machine.spawn("client", "curl%d" % i, argv))
    time.sleep(1)
    bed.drain("h1")
    wait("h1 to own nothing", lambda: bed.host("h1")["owned"] == 0)
    for u in bed.plan.upstreams:
        bed.run(u, "ip", "link", "set", "client", "mtu", "1320")

    def shrunk():
        lines = bed.run("h1", "ss", "-Htin", "state", "established", "( sport = :80 )").splitlines()
        flows = [(a, b) for a, b in zip(lines[::2], lines[1::2]) if EXPLORER4 in a or EXPLORER6 in a]
        return flows if flows and all("pmtu:1320" in b for _, b in flows) else None

    flows = wait("h1 to learn the path's MTU for each of its downloads", shrunk, 5)
    check(any(EXPLORER4 in a for a, _ in flows) and any(EXPLORER6 in a for a, _ in flows), "not both families on h1: %s", flows)
    wait("the downloads to end", lambda: not any(p.alive() for p in loads), 25)
    for i in range(count):
        with open(bed.machine.path("client", "body%d" % i), "rb") as f:
            body = f.read()
        check(hashlib.sha256(body).hexdigest() == expect, "download %d is wrong or short: %d bytes", i, len(body))
    detoured = sum(bed.host(h)["counters"].get(name, 0) for h in bed.plan.hosts[1:] for name in bed.host(h)["counters"] if name.startswith("detour_"))
    check(detoured > 0, "nothing took a detour: the test has proven nothing")
    check(time.monotonic() - begun < 40, "the downloads took %d s", time.monotonic() - begun)


# --- what no sane sender sends ----------------------------------------------------------------------------------
def vmac(*hosts):
    ids = (list(hosts) + [hosts[-1]] * 2)[:3]
    return (0x421 << 36 | ids[0] << 24 | ids[1] << 12 | ids[2]).to_bytes(6, "big")


def odd_packets(rng, count):
    """IP packets from ghosts to the VIPs, most of them wrong in some way."""
    for i in range(count):
        src, vip = FAMILIES[4 if i & 1 else 6]
        src = str(ipaddress.ip_address(src) + rng.randrange(1, 40))
        p = tcp_packet(src, rng.randrange(65536), vip, rng.choice((80, 0, 443, 65535)), rng.choice((SYN, ACK, SYN | FIN, 0, 255, RST, FIN | ACK)),
                       rng.getrandbits(32), rng.getrandbits(32), rng.randbytes(rng.choice((0, 1, 100))))
        four = p[0] >> 4 == 4
        body = p[20 if four else 40:]
        kind = rng.randrange(10)
        if kind == 0:  # cut off
            p = p[:rng.randrange(1, len(p))]
        elif kind == 1:  # another protocol, the same bytes
            n = rng.choice((0, 1, 2, 17, 33, 41, 47, 50, 51, 58, 59, 132, 255))
            p = v4(p, n, body) if four else v6(p, n, body)
        elif kind == 2:  # an error that quotes a packet, cut anywhere
            quote = tcp_packet(vip, 80, src, 5555, ACK, 1)
            quote = quote[:rng.randrange(len(quote))]
            head = struct.pack("!BBHI", rng.choice((3, 4, 5, 11, 12) if four else (1, 2, 3, 4)), rng.randrange(8), 0, rng.choice((0, 68, 1280, 1320)))
            p = v4(p, 1, head[:2] + struct.pack("!H", checksum(head + quote)) + head[4:] + quote) if four else v6(p, 58, head + quote)
        elif kind == 3:  # options or extensions, of any content
            p = v4(p, 6, body, rng.randbytes(rng.randrange(1, 40))) if four else v6(p, rng.choice((0, 43, 44, 51, 60, 135, 139)), rng.randbytes(8 * rng.randrange(1, 9)) + body)
        elif kind == 4:  # a fragment of something, or an overlapping one
            at = rng.randrange(0, 8192)
            p = v4(p, 6, body, ident=i & 7, frag=at | rng.choice((0, 0x2000))) if four else v6(p, 44, struct.pack("!BBHI", 6, 0, at << 3 | rng.getrandbits(1), i & 7) + body)
        elif kind == 5:  # more extensions than anybody follows
            p = p if four else v6(p, 60, padding(60) * rng.randrange(7, 30) + padding(6) + body)
        elif kind == 6 and not four:  # jumbo
            p = struct.pack("!IHBB", 6 << 28, 0, 0, 64) + p[8:40] + struct.pack("!BBBBI", 6, 0, 0xC2, 4, 70000) + body
        elif kind == 7:  # a byte anywhere
            at = rng.randrange(len(p))
            p = p[:at] + bytes([rng.randrange(256)]) + p[at + 1:]
        elif kind == 8:  # TCP's own header
            at = len(p) - len(body) + 12
            p = p[:at] + bytes([rng.randrange(16) << 4]) + p[at + 1:]
        yield p


def raw(bed, node, ifname):
    s = in_netns(bed.plan.netns(node), lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
    s.bind((ifname, 0))
    return s


def mac_of(bed, node, ifname):
    return bytes.fromhex(bed.run(node, "cat", "/sys/class/net/%s/address" % ifname).strip().replace(":", ""))


def test_storm_of_odd_packets_in_a_drain(bed):
    """At each door: an upstream's link to each switch, a switch's port to a host, a host's own link."""
    rng, load, doors = random.Random(3), bed.load(), []
    running = [p for p in bed.machine.processes() if p.name.startswith("baton-")]
    for s in bed.plan.switches:
        own, far = mac_of(bed, s, "up1"), mac_of(bed, "up1", s)
        doors.append((raw(bed, "up1", s), [own] * 6 + [vmac(1), vmac(2, 1), b"\xff" * 6], [far, bytes(6), vmac(1)]))
        svi = mac_of(bed, s, "hosts")
        doors.append((raw(bed, s, "h2"), [vmac(2), vmac(2, 1), vmac(2, 1, 3), vmac(4094), rng.randbytes(6)], [svi, rng.randbytes(6)]))
    for ifname in ("eth0", "eth1"):
        # Forged detours among them: as if another host had sent them on, with any budget.
        doors.append((raw(bed, "h3", ifname), [vmac(1), vmac(2, 1), vmac(4, 3), rng.randbytes(6), b"\xff" * 6],
                      [vmac(3), vmac(1), b"\x00" * 6, b"\x42\x20\x00\x10\x01\x01", rng.randbytes(6)]))
    sent = refused = 0

    def storm():
        nonlocal sent, refused
        for i, p in enumerate(odd_packets(rng, 900)):
            kind = b"\x08\x00" if p[0] >> 4 == 4 else b"\x86\xdd"
            tag = rng.choice((b"",) * 6 + (b"\x81\x00\x00\x05", b"\x88\xa8\x00\x07\x81\x00\x00\x05", b"\x81\x00"))
            for door, targets, sources in doors:
                try:
                    door.send((rng.choice(targets) + rng.choice(sources) + tag + kind + p)[:1514])
                    sent += 1
                except OSError:
                    refused += 1  # a frame too short for its own header does not leave
            if not i % 30:
                time.sleep(0.01)

    with bed.flapping():
        storm()
        bed.drain("h1")
        storm()
        wait("h1 to own nothing", lambda: bed.host("h1")["owned"] == 0)
        storm()
    time.sleep(1)
    load.unbroken()
    bed.drained("h1", seconds=90)
    check(sent > 10000, "only %d frames were sent, %d refused", sent, refused)
    for p in running:
        check(p.alive(), "%s on %s has ended", p.name, p.node)
    bed.fill("h1")
    bed.healthy()
    for door, _, _ in doors:
        door.close()
