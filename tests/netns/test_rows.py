# SPDX-License-Identifier: BSD-2-Clause
"""Connections that have moved from their ingress host to another (l7/row/flow.h), while the ingress host is drained."""
import os
import random
import time

from bed import BUILD, check, wait
from test_packets import FAMILIES, Ghost
from wire import Wire

INGRESS, OWNER = "h1", "h2"


def rows(bed, host, *command):
    links = ",".join(l.ifname(host) for l in bed.plan.links_of(host, bed.plan.host_links))
    pop = bed.ask(verb="status")["pop"]
    return bed.run(host, os.path.join(BUILD, "tests", "netns", "rows"), host[1:],
                   "/sys/fs/bpf/baton/%s-%s-rows" % (pop, host), links, *command)


def ends(family, port):
    client, vip = FAMILIES[family]
    return ("%s:%d" if family == 4 else "[%s]:%d") % (client, port), ("%s:80" if family == 4 else "[%s]:80") % vip


def explain(bed, family, port):
    client, vip = ends(family, port)
    return bed.ask(verb="explain", client=client, vip=vip, protocol="tcp")


def owner_of(bed, family, port):
    bucket = next(s["answer"]["bucket"] for s in explain(bed, family, port)["switches"])
    return bed.ask(verb="show", what="buckets")["buckets"][bucket]["hosts"][0]


def moved(bed, wire, family):
    """A connection whose packets come to INGRESS, and which lives at OWNER: as after a hand-off."""
    for _ in range(200):
        port = random.randrange(20000, 60000)
        if owner_of(bed, family, port) == INGRESS:
            rows(bed, INGRESS, "put", *ends(family, port), OWNER[1:])
            return Ghost(wire, family, port)
    check(False, "no port's bucket is %s's", INGRESS)


def conditions(bed):
    return [c["id"] for c in bed.ask(verb="drain_status", kind="host", name=INGRESS)["conditions"]]


def test_moved_connections_in_a_drain(bed):
    """Buckets of moved connections go to third hosts: detour, then row, then owner, through both fabrics and their guards."""
    wire, load = Wire(bed), bed.load(long=20, rate=20)
    ghosts = [moved(bed, wire, family) for family in (4, 6) for _ in range(6)]
    for g in ghosts:
        check(g.host == OWNER, "IPv%d: a row at %s leads to %s, not %s", g.family, INGRESS, g.host, OWNER)
        check(g.ask() == OWNER, "IPv%d: lost at rest", g.family)
    shown = bed.baton("show", "rows")
    for g in ghosts:
        check(ends(g.family, g.port)[0] in shown, "baton show rows misses %s: %s", g.port, shown)
    bed.drain(INGRESS)
    wait("%s to own nothing" % INGRESS, lambda: bed.host(INGRESS)["owned"] == 0)
    third = [g for g in ghosts if owner_of(bed, g.family, g.port) not in (INGRESS, OWNER)]
    check({g.family for g in third} == {4, 6}, "no bucket went to a third host")
    for g in ghosts:
        check(g.ask() == OWNER, "IPv%d: lost in a drain", g.family)
    with bed.flapping():
        for g in ghosts:
            check(g.ask() == OWNER, "IPv%d: lost when switches change", g.family)
    said = next(h["answer"] for h in explain(bed, third[0].family, third[0].port)["hosts"] if h["name"] == INGRESS)
    check("on to host %s" % OWNER in said["decision"] and said["row"]["through"] not in (INGRESS, OWNER), "explain: %s", said)
    wait("the rows to be all that is left", lambda: "sockets" not in conditions(bed), 60)  # the load's connections last 15 s
    time.sleep(5)  # longer than any proof takes here: the buckets must not forget the host
    check("rows" in conditions(bed) and not bed.safe(INGRESS), "safe with rows: %s", conditions(bed))
    check(bed.host(INGRESS)["sheltered"], "the histories ended although rows need them")
    check(all(g.ask() == OWNER for g in ghosts), "lost after the proof")
    gone = third[0]  # the control: without its row the connection is nobody's
    rows(bed, INGRESS, "delete", *ends(gone.family, gone.port))
    check(gone.ask() == "reset", "a connection lives without its row")
    for g in ghosts:
        g.end()
        if g is not gone:
            rows(bed, INGRESS, "delete", *ends(g.family, g.port))
    bed.drained(INGRESS)
    wire.close()
    load.unbroken()
