# SPDX-License-Identifier: BSD-2-Clause
"""Hand-made TCP segments from the client's wire.  Their source addresses are routed to the client but not its
own, so its kernel neither answers nor resets what comes back."""
import ctypes
import ipaddress
import os
import socket
import struct
import threading
import time

from services import PATIENCE

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
GHOST4, GHOST6 = "203.0.113.200", "2001:db8:c::200"
ETH = {4: 0x0800, 6: 0x86DD}


def in_netns(name, function):
    """Runs function() in a network namespace, in a thread of its own; sockets made there stay there."""
    box = {}

    def body():
        try:
            fd = os.open("/run/netns/" + name, os.O_RDONLY)
            if ctypes.CDLL(None, use_errno=True).setns(fd, 0x40000000):
                raise OSError(ctypes.get_errno(), "setns " + name)
            os.close(fd)
            box["value"] = function()
        except BaseException as e:
            box["error"] = e

    t = threading.Thread(target=body)
    t.start()
    t.join()
    if "error" in box:
        raise box["error"]
    return box["value"]


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def tcp_packet(src, sport, dst, dport, flags, seq, ack=0, payload=b"", options=b""):
    """An IP packet with one TCP segment."""
    s, d = ipaddress.ip_address(src), ipaddress.ip_address(dst)
    options += b"\0" * (-len(options) % 4)
    segment = struct.pack("!HHIIBBHHH", sport, dport, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, (5 + len(options) // 4) << 4, flags,
                          65000, 0, 0) + options + payload
    pseudo = s.packed + d.packed + (struct.pack("!BBH", 0, 6, len(segment)) if s.version == 4 else struct.pack("!IxxxB", len(segment), 6))
    segment = segment[:16] + struct.pack("!H", checksum(pseudo + segment)) + segment[18:]
    if s.version == 6:
        return struct.pack("!IHBB", 6 << 28, len(segment), 6, 64) + s.packed + d.packed + segment
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(segment), 0, 0x4000, 64, 6, 0, s.packed, d.packed)
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + segment


def parse(packet):
    """(src, sport, dst, dport, flags, seq, ack, payload) of a TCP packet, or None."""
    version = packet[0] >> 4
    at = (packet[0] & 15) * 4 if version == 4 else 40
    if (packet[9] if version == 4 else packet[6]) != 6 or len(packet) < at + 20:
        return None
    src, dst = (packet[12:16], packet[16:20]) if version == 4 else (packet[8:24], packet[24:40])
    end = struct.unpack("!H", packet[2:4])[0] if version == 4 else 40 + struct.unpack("!H", packet[4:6])[0]
    sport, dport, seq, ack, offset, flags = struct.unpack("!HHIIBB", packet[at:at + 14])
    return (str(ipaddress.ip_address(src)), sport, str(ipaddress.ip_address(dst)), dport, flags, seq, ack,
            packet[at + (offset >> 4) * 4:end])


def only_ghosts(s):
    """A classic BPF filter: the load's packets would fill the socket's queue."""
    v4, v6 = ipaddress.ip_address(GHOST4), ipaddress.ip_address(GHOST6)
    program = [(0x30, 0, 0, 0),                             # A = first byte
               (0x74, 0, 0, 4),                             # A >>= 4
               (0x15, 0, 2, 4),                             # IPv4?
               (0x20, 0, 0, 16), (0x15, 2, 3, int(v4)),     # the destination
               (0x20, 0, 0, 36), (0x15, 0, 1, int(v6) & 0xFFFFFFFF),
               (0x06, 0, 0, 65535), (0x06, 0, 0, 0)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *i) for i in program))
    s.setsockopt(socket.SOL_SOCKET, 26, struct.pack("HL", len(program), ctypes.addressof(code)))  # SO_ATTACH_FILTER


class Wire:
    def __init__(self, bed):
        self.out, self.taps = {}, []
        for link in bed.plan.client_links:
            name = link.ifname("client")
            tap = in_netns(bed.plan.netns("client"), lambda: socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3)))
            only_ghosts(tap)
            tap.bind((name, 3))
            tap.settimeout(0.02)
            mac = bytes.fromhex(bed.run(link.a, "cat", "/sys/class/net/%s/address" % link.ifname(link.a)).strip().replace(":", ""))
            self.taps.append(tap)
            self.out[link.a] = (tap, name, mac)

    def send(self, packet, by="up1"):
        tap, name, mac = self.out[by]
        tap.sendto(packet, (name, ETH[packet[0] >> 4], 0, 0, mac))

    def receive(self, sport, seconds, want=lambda segment: True):
        """The next segment toward our port `sport` that is wanted, or None."""
        deadline = time.monotonic() + seconds * PATIENCE
        while time.monotonic() < deadline:
            for tap in self.taps:
                try:
                    packet, where = tap.recvfrom(4096)
                except TimeoutError:
                    continue
                if where[2] == socket.PACKET_OUTGOING:
                    continue
                got = parse(packet) if where[1] in ETH.values() else None
                if got and got[3] == sport and want(got):
                    return got
        return None

    def close(self):
        for tap in self.taps:
            tap.close()
