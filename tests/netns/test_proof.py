# SPDX-License-Identifier: BSD-2-Clause
"""Switches whose buckets differ, and a switch that opens its fabric anew."""
import json
import os
import select
import subprocess
import time

from bed import BUILD, check, options, wait
from plan import VIP4
from wire import GHOST4


def restart(bed, switch, seed=None):
    """Ends a switch's daemon and starts it again; seed: as if it hashed with another one (the paced fabric's knob)."""
    bed.kill(switch)
    knobs = bed.machine.path(switch, "knobs")
    with open(knobs, "w") as f:
        f.write("seed %d\n" % seed if seed else "")
    bed.services.start_daemon(switch, wrap=["env", "BATON_PACED_KNOBS=" + knobs])


def announcing(bed):
    return [s for s in bed.plan.switches if bed.switch(s)["announcing"]]


@options(switches=("xdp", "paced"))
def test_other_buckets_are_not_announced(bed):
    """A switch comes back hashing with another seed: it must not announce, the other goes on, and nothing breaks: it leaves
    before its buckets come into force, and what the daemon before left in the kernel forwards until then."""
    load = bed.load(long=40, rate=30)
    restart(bed, "s2", seed=99)
    wait("s2 to know that its buckets differ", lambda: "are not those" in bed.switch("s2").get("buckets_why", ""), 20)
    wait("upstreams to have s1 only", lambda: bed.services.upstream_missing(["s1"]) is None, 10)
    check(announcing(bed) == ["s1"], "announcing: %s", announcing(bed))
    wait("s2 to have its buckets in force", lambda: "sampled flows" in bed.switch("s2")["buckets_why"], 10)
    time.sleep(1)
    check(bed.services.upstream_missing(["s1"]) is None, "s2 announces after all")
    restart(bed, "s2")
    wait("both to announce", lambda: bed.services.missing() is None, 20)  # the control: with the right seed it may
    load.unbroken()


@options(switches=("paced", "paced"), hosts=2)
def test_who_announces_is_right(bed):
    """Both switches hash with a seed that is not the log's: odd, but alike, so both announce.  Then one of them is mended:
    now *it* differs from who announces, and waits until that one has left."""
    for s in ("s1", "s2"):
        bed.drain(s, "switch", force=True)
    wait("nobody to announce", lambda: not announcing(bed), 10)
    for s in ("s1", "s2"):
        restart(bed, s, seed=99)
        bed.fill(s, "switch")
    wait("both to announce", lambda: len(announcing(bed)) == 2, 30)
    check(any("sampled flows" in a for a in bed.switch("s1")["alarms"]), "no alarm: %s", bed.switch("s1")["alarms"])
    restart(bed, "s1")
    wait("s1 to be refused", lambda: "are not those" in bed.switch("s1").get("buckets_why", ""), 20)
    check(announcing(bed) == ["s2"], "announcing: %s", announcing(bed))
    answer = bed.drain("s2", "switch", force=True)
    check(answer.get("ok"), "drain of s2: %s", answer)
    wait("s1 to take over", lambda: announcing(bed) == ["s1"], 20)


def test_fabric_opened_anew_loses_nothing(bed):
    """Ports and uplinks of a switch change in pop.yaml: devices and programs are opened anew under traffic in which every
    lost packet is seen, because nobody sends it again."""
    link = bed.plan.client_links[0]
    mac = bed.run(link.a, "cat", "/sys/class/net/%s/address" % link.ifname(link.a)).strip()
    p = subprocess.Popen(bed.machine.enter("client", [os.path.join(BUILD, "tests/load/rtt"), "reset", link.ifname("client"), mac,
                                                      GHOST4, VIP4, str(0x1BADCAFE), "256", "64"] + [str(b) for b in range(256)]),
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def go(rounds):
        p.stdin.write("%d\n" % rounds)
        p.stdin.flush()

    load = bed.load(long=40, rate=30)
    path = bed.machine.path("pop.yaml")
    with open(path) as f:
        text = f.read()
    changed = text.replace("uplinks: [up1, up2]", "uplinks: [up2, up1]").replace("    peers: {s2: s2}\n", "").replace(
        "    peers: {s1: s1}\n", "")
    check(changed.count("[up2, up1]") == 2 and "peers" not in changed, "the plan is not written as it was:\n%s", text)
    go(5)  # neighbours are resolved
    p.stdout.readline()
    go(100)
    lost = json.loads(p.stdout.readline())["lost"]
    check(not lost, "%d segments are lost before anything changes", lost)
    for n, version in enumerate((changed, text, changed, text)):
        with open(path + ".new", "w") as f:
            f.write(version)
        opened = [bed.log_of(s).count("buckets proven") for s in bed.plan.switches]
        go(3000)  # some seconds of segments
        bed.baton("apply", path + ".new", "--yes")
        wait("both fabrics to be opened anew", lambda: all(bed.log_of(s).count("buckets proven") > before
                                                           for s, before in zip(bed.plan.switches, opened)), 10)
        check(p.poll() is None and not select.select([p.stdout], [], [], 0)[0], "the segments ended before the change")
        lost = json.loads(p.stdout.readline())["lost"]
        check(not lost, "change %d: %d of %d segments lost", n + 1, lost, 3000 * 64)
        wait("both to announce", lambda: bed.services.missing() is None, 20)
    p.stdin.close()
    p.wait(5)
    load.unbroken()
