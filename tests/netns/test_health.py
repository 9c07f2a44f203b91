# SPDX-License-Identifier: BSD-2-Clause
"""Hosts and agents that fail."""
import time

from bed import check, options, wait

PIECES = "4"  # kind of the load's connections that ask four times a second


def only_of(load, host):
    others = [f for f in load.faults() if f["host"] not in (host, "h0")]
    check(not others, "flows of others than %s broke: %s", host, others[:2])


def test_host_killed(bed):
    """Its flows are reset within 1 s of the next word of the client; nobody else's are touched."""
    load = bed.load()
    died_ms = time.monotonic() * 1000
    bed.power_off("h1")
    wait("h1 to be dead", lambda: bed.host("h1")["health"] == "dead", 3)
    wait("h1 to be in no triple", lambda: bed.host("h1")["owned"] == 0 and bed.host("h1")["sheltered"] == 0, 3)
    time.sleep(2)
    load.stop()
    only_of(load, "h1")
    faults = [f for f in load.faults() if f["kind"] == PIECES]
    check(faults, "nothing of h1 was broken: there was no load on it")
    late = [f for f in faults if f["at_ms"] - died_ms > 1300]
    check(not late, "reset later than 1 s: %s", late[:2])
    check(all(f["fault"] == "reset" for f in faults), "not reset: %s", [f for f in faults if f["fault"] != "reset"][:2])


def test_host_sick(bed):
    """A failing check moves new flows; what runs goes on."""
    load = bed.load()
    bed.sick("h1")
    wait("h1 to be sick", lambda: bed.host("h1")["health"] == "sick", 6)
    wait("h1 to own nothing", lambda: bed.host("h1")["owned"] == 0, 5)
    time.sleep(2)
    bed.sick("h1", False)
    wait("h1 to be up", lambda: bed.host("h1")["health"] == "up" and bed.host("h1")["owned"] == 64, 20)
    time.sleep(1)
    load.unbroken()


def test_agent_killed(bed):
    """Its host is sick, since nobody speaks for it; the pinned data path goes on, detours included."""
    load = bed.load()
    bed.kill("h1")
    wait("h1 to be sick", lambda: bed.host("h1")["health"] == "sick", 8)
    wait("h1 to own nothing", lambda: bed.host("h1")["owned"] == 0, 5)
    time.sleep(2)
    bed.start("h1")
    wait("h1 to be up", lambda: bed.host("h1")["health"] == "up" and bed.host("h1")["owned"] == 64, 25)
    time.sleep(1)
    load.unbroken()


def test_agents_restarted_one_by_one(bed):
    load = bed.load()
    for h in bed.plan.hosts:
        bed.kill(h)
        bed.start(h)
        wait("agent of %s to be back" % h, lambda: bed.host(h)["connected"], 10)
    time.sleep(1)
    load.unbroken()


def test_burst_of_sick_locks(bed):
    load = bed.load()
    for h in ("h1", "h2"):
        bed.sick(h)
    wait("an alarm", lambda: bed.ask(verb="status").get("alarms"), 8)
    time.sleep(2)
    check(bed.host("h1")["owned"] and bed.host("h2")["owned"], "half of the POP was sick in one burst, and was moved: %s",
          [bed.host(h)["owned"] for h in bed.plan.hosts])
    for h in ("h1", "h2"):
        bed.sick(h, False)
    wait("the alarm to end", lambda: not bed.ask(verb="status").get("alarms"), 20)
    load.unbroken()


def test_all_sick_fails_open(bed):
    load = bed.load(long=30, rate=30)
    for h in bed.plan.hosts:
        bed.sick(h)
    time.sleep(5)
    check(bed.services.upstream_missing() is None, "all sick: %s", bed.services.upstream_missing())
    check(sum(bed.host(h)["owned"] for h in bed.plan.hosts) == 256, "buckets were lost")
    load.unbroken()


def test_link_down_and_up(bed):
    """A host keeps its flows while one of its two links is down: they go over the peer link."""
    load = bed.load()
    for ifname in ("eth0", "eth1"):
        bed.link("h1", ifname, False)
        time.sleep(2)
        check(bed.host("h1")["health"] != "dead", "h1 is dead with one link left")
        bed.link("h1", ifname, True)
        time.sleep(2)
    load.unbroken()  # what was in flight toward the dead link is sent again by TCP: late, never broken


@options(one_armed={1: 1})
def test_host_through_one_switch(bed):
    load = bed.load()
    with bed.flapping():
        time.sleep(2)
        bed.drain("h2")
        bed.drained("h2")
        bed.fill("h2")
        time.sleep(2)
    load.unbroken()
    check(load.now("long")["ok_by_host"].get("h1"), "h1 has served nothing")
    answer = bed.drain("s1", kind="switch")
    check(not answer.get("ok") and "h1" in answer.get("error", ""), "h1 is reachable through s1 only, but its drain: %s", answer)
