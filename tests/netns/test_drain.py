# SPDX-License-Identifier: BSD-2-Clause
"""Out of service and back: nothing breaks, and the control shows that without detours it would."""
import time

from bed import check, options, wait
from services import PATIENCE


def test_host_out_and_back(bed):
    load = bed.load()
    bed.baton("drain", "host", "h1", "--wait", "--timeout", "%ds" % (40 * PATIENCE))
    check(bed.safe("h1"), "drain ended with 0, but h1 is not safe to reboot")
    sockets = bed.run("h1", "ss", "-Htn", "state", "established", "( sport = :80 )")
    check(not [l for l in sockets.splitlines() if "127.0.0.1" not in l], "h1 is called safe, but has sockets: %s", sockets)
    bed.services.restart("h1")
    bed.baton("fill", "host", "h1")
    wait("h1 to own its share again", lambda: bed.host("h1")["owned"] == 64)
    time.sleep(2)
    load.unbroken()
    counters = [bed.host(h).get("counters", {}) for h in bed.plan.hosts]
    detours = sum(n for c in counters for name, n in c.items() if name.startswith("detour_"))
    check(detours > 0, "nothing took a detour: the test has proven nothing: %s", counters)


def test_control_without_detours(bed):
    load = bed.load()
    bed.detours(False)
    bed.drain("h1")
    wait("h1 to own nothing", lambda: bed.host("h1")["owned"] == 0)
    time.sleep(3)
    load.stop()
    check(load.now("long")["broken"] > 0, "a drain without detours broke nothing: %s", load.now("long"))
    check(load.now("wiretap")["resets"] > 0, "and was not seen on the wire: %s", load.now("wiretap"))


@options(policy={"floor": "50%"})
def test_overlapping_drains(bed):
    load = bed.load()
    bed.drain("h1")
    wait("h1 to own nothing", lambda: bed.host("h1")["owned"] == 0)
    check(bed.host("h1")["sheltered"] > 0, "h1 shelters nothing")
    bed.drain("h2")
    wait("h2 to own nothing", lambda: bed.host("h2")["owned"] == 0)
    bed.drained("h1")
    bed.drained("h2")
    bed.fill("h1")
    bed.fill("h2")
    wait("both to own their share", lambda: bed.host("h1")["owned"] == 64 and bed.host("h2")["owned"] == 64)
    time.sleep(1)
    load.unbroken()


def test_undo_at_any_time(bed):
    load = bed.load()
    for pause in (0.0, 0.05, 0.3, 1.0):
        bed.drain("h2")
        time.sleep(pause)
        answer = bed.fill("h2")
        check(answer.get("ok"), "fill of h2 %g s after its drain: %s", pause, answer)
    wait("h2 to own its share", lambda: bed.host("h2")["owned"] == 64)
    time.sleep(1)
    load.unbroken()


def test_switches_out_and_back(bed):
    load = bed.load()
    for s in bed.plan.switches:
        bed.baton("drain", "switch", s, "--wait", "--timeout", "40s")
        others = [x for x in bed.plan.switches if x != s]
        check(bed.services.upstream_missing(others) is None, "%s is drained: %s", s, bed.services.upstream_missing(others))
        bed.baton("fill", "switch", s)
        wait("%s to announce" % s, lambda: bed.services.upstream_missing() is None, 20)
    load.unbroken()


def test_floor_refuses(bed):
    for h in ("h1", "h2"):
        check(bed.drain(h).get("ok"), "drain of %s is refused", h)
    answer = bed.drain("h3")
    check(not answer.get("ok") and "floor" in answer.get("error", "") + answer.get("remedy", ""), "not the floor: %s", answer)
    check(bed.host("h3")["admin"] == "in", "h3 was refused, but is %s", bed.host("h3")["admin"])


@options(policy={"floor": "10%"})
def test_full_triple_refuses(bed):
    load = bed.load(long=100, rate=20)
    for h in ("h1", "h2"):
        check(bed.drain(h).get("ok"), "drain of %s is refused", h)
        wait("%s to own nothing" % h, lambda: bed.host(h)["owned"] == 0)
    answer = bed.drain("h3")
    check(not answer.get("ok"), "buckets of h3 have a full triple of leaving hosts, but its drain is accepted: %s", answer)
    check("bucket" in answer["error"], "the reason names no bucket: %s", answer)
    before = bed.ask(verb="status")["index"]
    check(bed.host("h3")["owned"] > 0 and bed.host("h3")["admin"] == "in", "a refused drain has moved something")
    load.unbroken()
    check(before > 0, "no index")


@options(switches=["paced", "netlink"])
def test_slow_switch(bed):
    """A switch that applies rows one by one, as slowly as an ASIC does, while flows move from switch to switch."""
    load = bed.load()
    with bed.flapping():
        bed.drain("h1")
        bed.drained("h1")
        bed.fill("h1")
        wait("h1 to own its share", lambda: bed.host("h1")["owned"] == 64)
        time.sleep(1)
    load.unbroken()
