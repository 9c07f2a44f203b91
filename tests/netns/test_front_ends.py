# SPDX-License-Identifier: BSD-2-Clause
"""baton-l7d on every host, each in front of all hosts' nginx: what a host's drain means for those who use its server."""
import os
import re
import subprocess
import sys
import time

from bed import check, options, wait
from plan import VIP4, VIP6, WEB_PORT
from services import control


@options(front_ends=True)
def test_front_end_and_server_restarted_in_a_drain(bed):
    """HTTP and TLS through the front ends: one host's front end and nginx end and start again, nothing breaks."""
    load = bed.load(long=60, rate=40)
    bed.drain("h1")
    bed.drained("h1")
    bed.services.restart("h1")
    bed.fill("h1")
    wait("h1 to serve", lambda: bed.host("h1")["health"] == "up" and bed.host("h1")["owned"] > 0)
    bed.settled()
    time.sleep(2)
    load.unbroken()
    secured = load.now("short")["tls"] + load.now("long")["tls"]
    check(secured > 20, "only %d connections spoke TLS", secured)


@options(front_ends=True)
def test_drain_waits_for_what_neighbours_get_from_its_server(bed):
    """Downloads through h2's front end, some from h1's nginx.  h1 serves no client itself, and is not safe before they end."""
    size, rate = 65536, 8192
    url = "http://%s/pattern?rate=%d" % (VIP4, rate)
    argv = bed.machine.enter("h2", ["curl", "-s", "-D", "-", "-o", "/dev/null", "-w", "%{http_code} %{size_download}\n", "-r", "0-%d" % (size - 1), url])
    downloads = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(8)]
    time.sleep(1)
    bed.drain("h1")
    names = lambda: {c["id"] for c in bed.ask(verb="drain_status", kind="host", name="h1").get("conditions", [])}
    wait("nothing but downloads through neighbours to be left", lambda: names() == {"proxied"}, 6, every=0.02)
    check(not bed.safe("h1"), "safe while h2 proxies to it")
    text = bed.baton("drain", "host", "h1", "--wait", "--timeout", "200ms", expect=4)
    check("that front ends have given to its servers" in text, "the operator is not told: %s", text)
    bed.drained("h1")
    bed.services.restart("h1")
    heads = [d.communicate(timeout=20)[0] for d in downloads]
    check(all(h.endswith("206 %d\n" % size) for h in heads), "a download broke: %s", heads)
    check(any("X-Host: h1" in h for h in heads), "none of them came from h1: nothing is shown")


@options(front_ends=True)
def test_clients_of_the_field(bed):
    """curl, wrk, nghttp, h2load, openssl s_client and a WebSocket client, through routers, switches and front ends."""
    ca, client = bed.machine.path("certs", "www.crt"), lambda *argv, **kw: bed.machine.run("client", [str(a) for a in argv], **kw)
    vip6 = "[%s]" % VIP6
    fetch = ["sh", "-c", 'curl -sS -r 0-999999 -w "%{stderr}%{http_version} %{http_code} " "$@" | sha256sum', "curl"]
    want = bed.machine.run("h1", fetch + ["http://%s:%d/pattern" % (bed.plan.management("h1"), WEB_PORT)]).split()[-2]
    for address in (VIP4, vip6):
        for args in (["http://%s/pattern" % address], ["--http1.1", "-k", "https://%s/pattern" % address], ["--http2", "-k", "https://%s/pattern" % address]):
            got = client(*fetch, *args)
            check(want in got and " 206 " in got and got.startswith("2" if "--http2" in args else "1.1"), "%s: %s", args, got)
    for scheme in ("http", "https"):
        out = client("wrk", "-t", 2, "-c", 20, "-d", "1s", "%s://%s/short" % (scheme, VIP4))
        check("Socket errors" not in out and "Non-2xx" not in out and int(re.search(r"(\d+) requests in", out)[1]) > 100, "wrk: %s", out)
    out = client("nghttp", "-nsv", "https://%s/short" % VIP4, "https://%s/whoami" % VIP4)
    check(out.count(":status: 200") == 2, "nghttp: %s", out[-500:])
    out = client("h2load", "-n", 500, "-c", 5, "-m", 10, "https://%s/short" % VIP4)
    check("500 succeeded, 0 failed" in out, "h2load: %s", out)
    out = client("openssl", "s_client", "-connect", VIP4 + ":443", "-CAfile", ca, "-quiet", "-ign_eof",
                 text="GET /whoami HTTP/1.1\r\nHost: www\r\nConnection: close\r\n\r\n")
    check("HTTP/1.1 200 OK" in out and out.strip().split("\n")[-1] in bed.plan.hosts, "s_client: %s", out[-300:])
    # What one front end has begun another resumes: their ticket keys come from the controller.  (A host's own connections to a VIP are
    # its own front end's.)
    session = bed.machine.path("session")
    for host, how in (("h1", "-sess_out"), ("h2", "-sess_in"), ("h3", "-sess_in")):
        out = bed.machine.run(host, ["openssl", "s_client", "-connect", VIP4 + ":443", "-ign_eof", how, session],
                              text="GET /whoami HTTP/1.1\r\nHost: www\r\nConnection: close\r\n\r\n", check=False)
        check("200 OK" in out and ("Reused, TLSv1.3" in out) == (how == "-sess_in"), "%s at %s: %s", how, host, out[-400:])


@options(front_ends=True)
def test_client_certificates(bed):
    """Clients are asked for a certificate from `baton apply` on.  Who has shown it to one front end need not show it to another, by a ticket;
    a ticket of before, when nobody was asked, opens nothing."""
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "l7"))
    from authority import Authority
    path, directory = bed.machine.path("pop.yaml"), bed.machine.path("clients")
    os.makedirs(directory)
    ca = Authority(directory, "ca")
    ca.issue("alice")
    alice = ["-cert", ca.path("pem", "alice")]

    def ask(host, *how):
        return bed.machine.run(host, ["openssl", "s_client", "-connect", VIP4 + ":443", "-ign_eof", *how],
                               text="GET /whoami HTTP/1.1\r\nHost: www\r\nConnection: close\r\n\r\n", check=False)
    check("200 OK" in ask("h1", "-sess_out", directory + "/before"), "control: nobody is asked")
    with open(path) as f:
        text = f.read()
    asks = ', min_version: "1.3", client: {ca: %s}}' % ca.path("crt")
    check(text.count(', min_version: "1.3"}') == 1, "the plan's edge")
    with open(path + ".new", "w") as f:
        f.write(text.replace(', min_version: "1.3"}', asks))
    bed.baton("apply", path + ".new", "--yes")
    for h in bed.plan.hosts:
        wait("%s to ask" % h, lambda h=h: "alert" in ask(h) and "200 OK" in ask(h, *alice), 10)
    for host, how in (("h1", ["-sess_out", directory + "/session", *alice]), ("h2", ["-sess_in", directory + "/session"]),
                      ("h3", ["-sess_in", directory + "/session"])):
        out = ask(host, *how)
        check("200 OK" in out and ("Reused, TLSv1.3" in out) == ("-sess_in" in how), "%s at %s: %s", how, host, out[-400:])
        out = ask(host, "-sess_in", directory + "/before")
        check("200 OK" not in out and "certificate required" in out, "%s lets in by an old ticket: %s", host, out[-400:])


@options(front_ends=True)
def test_websockets(bed):
    """An edge that gets a route to WebSocket servers by `baton apply`; over IPv4 and IPv6, plain and TLS."""
    program, path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "websocket.py"), bed.machine.path("pop.yaml")
    for h in bed.plan.hosts:
        bed.machine.spawn(h, "websocket", ["python3", program, "serve", bed.plan.management(h), "8090"])
    with open(path) as f:
        text = f.read()
    text = text.replace("routes: [", 'routes: [{path: /ws, pool: ws}, ').replace("pools:\n", "pools:\n  - name: ws\n    backends: [%s]\n" % ", ".join(
        "{host: %s, port: 8090}" % h for h in bed.plan.hosts))
    with open(path + ".new", "w") as f:
        f.write(text)
    ask = lambda address, port, ca, n: bed.machine.run("client", ["python3", program, "ask", address, str(port), ca, str(n)], check=False)
    check("messages" not in ask(VIP4, 80, "-", 1), "the control: there is no such route yet")
    bed.baton("apply", path + ".new", "--yes")
    wait("the route to be in force", lambda: "1 messages" in ask(VIP4, 80, "-", 1), 10)
    for address in (VIP4, VIP6):
        for port, ca in ((80, "-"), (443, bed.machine.path("certs", "www.crt"))):
            got = ask(address, port, ca, 21)
            check("21 messages" in got, "%s port %d: %s", address, port, got)


def handoffs(bed):
    """What the front ends have counted since they began; of one that is just away, nothing."""
    total = {}
    for h in bed.plan.hosts:
        said = control(bed.machine.path(h, "run", "l7d.sock"), {"verb": "status"}) or {"handoffs": {}}
        for name, n in said["handoffs"].items():
            total[name] = total.get(name, 0) + n
    return total


@options(front_ends=True, handoff=True)
def test_hand_off_in_a_drain(bed):
    """Half of the load asks for objects that one host's server each has: its connections move there, and on, while a host that is ingress
    of some and owner of others is drained, restarted and filled."""
    load = bed.load(long=60, rate=20)
    wait("connections to move", lambda: handoffs(bed).get("given", 0) > 20, 20)
    bed.drain("h1")
    bed.drained("h1", seconds=90)
    before = handoffs(bed)
    bed.services.restart("h1")
    bed.fill("h1")
    wait("h1 to serve", lambda: bed.host("h1")["health"] == "up" and bed.host("h1")["owned"] > 0)
    bed.settled()
    wait("connections to move to h1 again", lambda: handoffs(bed).get("given", 0) > before["given"], 20)
    load.went_on()
    after = handoffs(bed)
    resets = load.now("wiretap")["resets"]
    check(not resets, "%d resets were seen: %s", resets, after)
    check(not load.faults() and not load.now("short")["failed"] and not load.now("long")["failed"], "something broke: %s", load.faults()[:3])
    check(before["lost"] == after["lost"] == 0, "connections were lost: %s, %s", before, after)
