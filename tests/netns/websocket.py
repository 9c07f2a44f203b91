# SPDX-License-Identifier: BSD-2-Clause
"""WebSocket (RFC 6455) as far as tests need it.  As a program: `serve ADDRESS PORT` echoes, `ask ADDRESS PORT TLS|- N` sends N messages."""
import base64
import hashlib
import os
import re
import socket
import ssl
import struct
import sys
import threading

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
BINARY, CLOSE = 2, 8


def frame(opcode, data, masked):
    n, mask = len(data), os.urandom(4)
    head = bytes([0x80 | opcode])
    bit = 0x80 if masked else 0
    head += bytes([bit | n]) if n < 126 else bytes([bit | 126]) + struct.pack("!H", n) if n < 65536 else bytes([bit | 127]) + struct.pack("!Q", n)
    if not masked:
        return head + data
    key = int.from_bytes((mask * (n // 4 + 1))[:n], "big")
    return head + mask + (int.from_bytes(data, "big") ^ key).to_bytes(n, "big") if n else head + mask


def read_exactly(f, n):
    data = f.read(n)
    if len(data) < n:
        raise EOFError("the other side ended")
    return data


def read_frame(f):
    first, second = read_exactly(f, 2)
    n = second & 127
    if n > 125:
        n = struct.unpack("!H" if n == 126 else "!Q", read_exactly(f, 2 if n == 126 else 8))[0]
    mask = read_exactly(f, 4) if second & 0x80 else None
    data = read_exactly(f, n)
    if mask and n:
        data = (int.from_bytes(data, "big") ^ int.from_bytes((mask * (n // 4 + 1))[:n], "big")).to_bytes(n, "big")
    return first & 15, data


def accept_of(key):
    return base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()


def echo(c):
    f = c.makefile("rb")
    head = b"".join(iter(f.readline, b"\r\n")).decode()
    key = re.search(r"(?i)sec-websocket-key: *(\S+)", head)
    if not key:
        c.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        return
    c.sendall(("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n"
               % accept_of(key.group(1))).encode())
    while True:
        opcode, data = read_frame(f)
        c.sendall(frame(opcode, data, False))
        if opcode == CLOSE:
            return


def guarded(c):
    with c:
        try:
            echo(c)
        except (EOFError, OSError):
            pass


def serve(address, port):
    s = socket.create_server((address, port), backlog=64)
    while True:
        threading.Thread(target=guarded, args=(s.accept()[0],), daemon=True).start()


def ask(address, port, ca, n):
    s = socket.create_connection((address, port), 10)
    if ca != "-":
        context = ssl.create_default_context(cafile=ca)
        context.check_hostname = False
        s = context.wrap_socket(s)
    key = base64.b64encode(os.urandom(16)).decode()
    s.sendall(("GET /ws HTTP/1.1\r\nHost: www\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: %s\r\n"
               "Sec-WebSocket-Version: 13\r\n\r\n" % key).encode())
    f = s.makefile("rb")
    head = b"".join(iter(f.readline, b"\r\n")).decode()
    assert " 101 " in head and accept_of(key) in head, head
    for i in range(n):
        data = os.urandom((0, 1, 125, 126, 65535, 65536, 200000)[i % 7])
        s.sendall(frame(BINARY, data, True))
        assert read_frame(f) == (BINARY, data), "message %d" % i
    s.sendall(frame(CLOSE, struct.pack("!H", 1000), True))
    assert read_frame(f)[0] == CLOSE and not f.read(1)
    print("%d messages" % n)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2], int(sys.argv[3]))
    else:
        ask(sys.argv[2], int(sys.argv[3]), sys.argv[4], int(sys.argv[5]))
