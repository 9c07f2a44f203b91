# SPDX-License-Identifier: BSD-2-Clause
"""Whoever reaches a port of a running POP without being entitled to gets nothing and breaks nothing."""
import os
import random
import socket
import ssl
import struct
import threading
import time

from bed import BUILD, check, wait
from machine import run
from wire import in_netns

CONTROLLER, METRICS = ("192.0.2.10", 7430), ("127.0.0.1", 9464)
WELCOME, HELLO = 0xFF00, 1


def issue(bed, authority, pop, role, number):
    """A certificate; the authority is made when there is none of that name."""
    pki = bed.machine.path(authority)
    baton = os.path.join(BUILD, "baton")
    if not os.path.isdir(pki):
        run([baton, "pki", "init", "--dir", pki, "--pop", pop])
    if not os.path.isdir("%s/%s-%d" % (pki, role, number)):
        run([baton, "pki", "issue", "--dir", pki, "--role", role, "--id", str(number)])
    return "%s/%s-%d" % (pki, role, number)


def connect(bed, node, where, seconds=3):
    def make():
        s = socket.socket()
        s.settimeout(seconds)
        s.connect(where)
        return s
    return in_netns(bed.plan.netns(node), make)


def session(bed, node, tls, where=CONTROLLER):
    """A session as somebody: (socket, type of the first message, its text).  Type None: no TLS or no answer."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if tls:
        context.load_cert_chain(tls + "/cert.pem", tls + "/key.pem")
    raw = connect(bed, node, where)
    try:
        s = context.wrap_socket(raw)
        head = s.recv(6)
        if len(head) < 6:
            return s, None, "closed"
        length, kind = struct.unpack("!IH", head)
        return s, kind, s.recv(length) .decode(errors="replace") if length > 2 else ""
    except OSError as e:
        return raw, None, str(e)


def message(kind, body=b""):
    return struct.pack("!IH", len(body) + 2, kind) + body


def same_processes(bed, before):
    for p in before:
        check(p.alive(), "%s on %s has ended", p.name, p.node)


def daemons(bed):
    return [p for p in bed.machine.processes() if p.name.startswith("baton-")]


def test_strangers_get_no_session(bed):
    """Another role, another authority, another POP, nobody: refused, while the POP drains a host under load."""
    load, running = bed.load(), daemons(bed)
    real = lambda role, number: issue(bed, "pki", "demo", role, number)
    strangers = {
        "without a certificate": None,
        "an operator": real("operator", 1),
        "another controller": real("controller", 2),
        "a host that is not in the configuration": real("host", 77),
        "a switch that is not in the configuration": real("switch", 77),
        "a host of another authority": issue(bed, "pki2", "demo", "host", 1),
        "a switch of another authority": issue(bed, "pki2", "demo", "switch", 1),
        "a host of another POP": issue(bed, "pki3", "other", "host", 1),
    }
    bed.drain("h1")
    for who, tls in strangers.items():
        s, kind, text = session(bed, "h4", tls)
        check(kind != WELCOME, "%s is welcome at the controller", who)
        s.close()
    # The control: who is entitled is let in by the same means.
    s, kind, text = session(bed, "h4", real("host", 4))
    check(kind == WELCOME, "host 4 is not let in: %s", text)
    # What it may not say: a switch's part, nonsense, an endless message.
    s.sendall(message(HELLO, os.urandom(82)) + message(7, b"{") + message(5, b"\xff" * 8) + message(9, os.urandom(40)))
    s.sendall(b"\xff\xff\xff\xff")
    s.close()
    bed.drained("h1")
    bed.fill("h1")
    bed.healthy()
    same_processes(bed, running)
    load.unbroken()


def test_recorded_session_is_worth_nothing(bed):
    """A whole session of host 4, recorded on the wire and sent again."""
    load, running, recorded = bed.load(long=20, rate=20), daemons(bed), bytearray()
    inner, outer = socket.socketpair()
    upstream = connect(bed, "h4", CONTROLLER)

    def relay():
        for source, sink, keep in ((outer, upstream, True), (upstream, outer, False)):
            threading.Thread(target=pump, args=(source, sink, keep), daemon=True).start()

    def pump(source, sink, keep):
        try:
            while data := source.recv(65536):
                if keep:
                    recorded.extend(data)
                sink.sendall(data)
        except OSError:
            pass

    relay()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    tls = issue(bed, "pki", "demo", "host", 4)
    context.load_cert_chain(tls + "/cert.pem", tls + "/key.pem")
    inner.settimeout(3)
    s = context.wrap_socket(inner)
    check(struct.unpack("!IH", s.recv(6))[1] == WELCOME, "the session that is to be recorded did not come up")
    s.sendall(message(HELLO, struct.pack("!HQQ", 1, 0, 0) + bytes(64)))
    time.sleep(0.5)
    s.close()
    upstream.close()
    check(len(recorded) > 1000, "only %d bytes were recorded", len(recorded))
    wait("host 4 to be back", lambda: bed.host("h4")["connected"], 10)
    for _ in range(5):
        again = connect(bed, "h4", CONTROLLER)
        again.sendall(bytes(recorded))
        answer = b""
        try:
            while more := again.recv(65536):
                answer += more
        except OSError:
            pass
        again.close()
        # A server hello, perhaps, and an alert; never a session: that would answer with the log.
        check(len(answer) < 5000, "the recording was answered with %d bytes", len(answer))
    check(bed.host("h4")["connected"], "a recording has ended the session of host 4")
    bed.healthy()
    same_processes(bed, running)
    load.unbroken()


def garbage(rng):
    yield b""
    yield b"\0"
    yield b"\n"
    yield b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    yield b"GET /metrics HTTP/9.9\r\n" + b"A: " + b"a" * 70000
    yield b"POST /metrics HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n"
    yield b"{" * 100000 + b"\n"
    yield b"[]\n{}\n{\"verb\":1}\n{\"verb\":\"drain\"}\n{\"verb\":\"show\",\"what\":[]}\n"
    yield b'{"verb":"apply","text":"\\u0000"}\n'
    yield b'{"verb":"drain","kind":"host","name":"h1\\nh2","reason":{}}\n'
    yield b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + rng.randbytes(400)
    yield b"\x16\x03\x01\xff\xff" + rng.randbytes(70000)
    yield b"\x80\x2e\x01\x00\x02" + rng.randbytes(60)
    for _ in range(20):
        yield rng.randbytes(rng.randrange(1, 3000))


def throw(s, data):
    """Sends, reads for a moment what comes back, leaves."""
    try:
        s.sendall(data)
        s.settimeout(0.05)
        while s.recv(65536):
            pass
    except OSError:
        pass
    s.close()


def test_garbage_on_every_port(bed):
    """Sessions, metrics, control sockets of all daemons, BGP aside; a drain goes on meanwhile."""
    load, running, rng = bed.load(), daemons(bed), random.Random(7)
    bed.drain("h1")
    sockets = {"c1": "controld.sock", "s1": "switchd.sock", "s2": "switchd.sock", "h1": "agentd.sock", "h2": "agentd.sock"}
    for data in garbage(rng):
        throw(connect(bed, "h4", CONTROLLER), data)
    for node, name in sockets.items():
        for data in garbage(rng):
            throw(connect(bed, node, METRICS), data)
            s = socket.socket(socket.AF_UNIX)
            s.connect(bed.machine.path(node, "run", name))
            throw(s, data)
    bed.drained("h1")
    bed.fill("h1")
    bed.healthy()
    same_processes(bed, running)
    for node in sockets:
        text = bed.run(node, "curl", "-s", "-m", "2", "http://127.0.0.1:9464/metrics")
        check("# TYPE baton_" in text, "metrics of %s: %s", node, text[:80])
    load.unbroken()


def test_silent_connections_keep_nobody_out(bed):
    """More half-open sessions than a listener keeps, silent metrics readers, silent operators: who means it gets in."""
    load, running, silent = bed.load(long=20, rate=20), daemons(bed), []
    for _ in range(400):
        silent.append(connect(bed, "h4", CONTROLLER))
    for _ in range(100):
        silent.append(connect(bed, "c1", METRICS))
    bed.kill("h2")
    bed.start("h2")
    wait("the agent of h2 to be back among 400 silent connections", lambda: bed.host("h2")["connected"], 15)
    wait("h2 to be up", lambda: bed.host("h2")["health"] == "up", 15)
    metrics = lambda: bed.run("c1", "curl", "-s", "-m", "2", "http://127.0.0.1:9464/metrics", check=False)
    wait("a page of metrics: who says nothing has 5 s", lambda: "# TYPE baton_" in metrics(), 12)
    for s in silent:
        s.close()
    bed.healthy()
    same_processes(bed, [p for p in running if p.node != "h2"])
    load.unbroken()
