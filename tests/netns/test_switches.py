# SPDX-License-Identifier: BSD-2-Clause
"""Switches, routers and controllers that fail in the middle of something."""
import base64
import glob
import os
import signal
import time

from bed import check, options, wait


def move_while(bed, begin, end):
    """Drains h1 while a switch is unwell and upstreams move flows from switch to switch."""
    load = bed.load()
    with bed.flapping():
        begin()
        bed.drain("h1")
        time.sleep(3)
        check(not bed.safe("h1"), "h1 is called safe to reboot while a switch may still send to it")
        end()
        bed.drained("h1")
        bed.fill("h1")
        wait("h1 to own its share", lambda: bed.host("h1")["owned"] == 64, 20)
        time.sleep(1)
    load.unbroken()


def test_switch_partitioned_in_a_move(bed):
    move_while(bed, lambda: bed.link("s2", "mgmt", False), lambda: bed.link("s2", "mgmt", True))


def test_switch_lags_in_a_move(bed):
    daemon = bed.machine.processes("s1", "baton-switchd")[0]
    move_while(bed, lambda: daemon.signal(signal.SIGSTOP), lambda: daemon.signal(signal.SIGCONT))


def test_switchd_killed_in_a_move(bed):
    move_while(bed, lambda: bed.kill("s2"), lambda: bed.start("s2"))


def knobs(bed, words):
    with open(bed.machine.path("s1", "knobs"), "w") as f:
        f.write(words)


def applies_half(bed, words, remedy):
    """A drain and a fill, in each of which s1 stops after some rows: it forwards by a table half old and half new."""
    load = bed.load()
    with bed.flapping():
        for verb in (bed.drain, bed.fill):
            knobs(bed, words)
            verb("h1")
            wait("s1 to stop in the middle", lambda: bed.switch("s1")["lag"] or bed.switch("s1")["failed"], 5)
            time.sleep(2.5)
            check(bed.switch("s1")["lag"] or bed.switch("s1")["failed"], "s1 has applied all: %s", bed.switch("s1"))
            check(not bed.safe("h1"), "h1 is called safe to reboot while s1 may still send to it")
            knobs(bed, remedy)
            if verb == bed.drain:
                bed.drained("h1")
        wait("h1 to own its share", lambda: bed.host("h1")["owned"] == 64, 20)
        wait("s1 to have everything", lambda: not bed.switch("s1")["lag"] and not bed.switch("s1")["failed"], 20)
        time.sleep(1)
    load.unbroken()


@options(switches=["paced", "netlink"])
def test_switch_stalls_in_the_middle_of_its_table(bed):
    applies_half(bed, "stall 20", "pace 131")


@options(switches=["paced", "netlink"])
def test_switch_fails_in_the_middle_of_its_table(bed):
    """It says so, tries again by itself, and the second step of the move waits for it."""
    applies_half(bed, "fail 20", "pace 131")


def test_switch_power_off(bed):
    """What is in flight there is lost and sent again; flows go on over the other switch."""
    load = bed.load()
    bed.power_off("s1")
    wait("upstreams to have one switch", lambda: bed.services.upstream_missing(["s2"]) is None, 5)
    time.sleep(4)
    load.unbroken()


def test_bridge_carrier_lost(bed):
    """The kernel then deletes next hops and routes and never restores them: the switch must."""
    load = bed.load(long=40, rate=30)
    bed.run("s2", "ip", "link", "set", "hosts", "down")
    time.sleep(1)
    bed.run("s2", "ip", "link", "set", "hosts", "up")
    wait("s2 to be whole again", lambda: bed.services.missing() is None, 20)
    time.sleep(2)
    load.unbroken()


def test_bird_restarted(bed):
    load = bed.load()
    bed.machine.end("s1", "bird", signal.SIGKILL)
    wait("upstreams to have one switch", lambda: bed.services.upstream_missing(["s2"]) is None, 5)
    bed.services.start_bird("s1")
    wait("upstreams to have both", lambda: bed.services.upstream_missing() is None, 20)
    wait("s1 to be known as announcing", lambda: bed.switch("s1")["announcing"], 10)
    load.unbroken()


def test_upstream_lost(bed):
    load = bed.load()
    bed.power_off("up1")
    time.sleep(4)
    load.unbroken()


def test_controller_killed_in_a_drain(bed):
    load = bed.load()
    bed.drain("h1")
    bed.kill("c1")
    time.sleep(2)
    bed.start("c1")
    wait("the controller to be back", lambda: bed.ask(verb="status").get("ok"), 10)
    check(bed.host("h1")["admin"] != "in", "the drain of h1 was forgotten")
    bed.drained("h1")
    load.unbroken()


def test_no_controller(bed):
    """Everything forwards on without one, across restarts of every other daemon too."""
    load = bed.load()
    bed.kill("c1")
    for node in ("h1", "s1", "s2"):
        bed.kill(node)
        bed.start(node)
        time.sleep(2)
    load.unbroken()


def test_controller_disk_full(bed):
    load = bed.load()
    bed.kill("c1")
    state = bed.machine.path("c1", "state")
    saved = {os.path.relpath(p, state): open(p, "rb").read() for p in glob.glob(state + "/**", recursive=True) if os.path.isfile(p)}
    bed.run("c1", "mount", "-t", "tmpfs", "-o", "size=2m", "full", state)
    for name, data in saved.items():
        bed.machine.run("c1", ["sh", "-c", "mkdir -p $(dirname %s/%s); base64 -d > %s/%s" % (state, name, state, name)],
                        text=base64.b64encode(data).decode())
    bed.start("c1")
    wait("the controller to be back", lambda: bed.ask(verb="status").get("ok"), 10)
    bed.healthy()
    bed.machine.run("c1", ["sh", "-c", "dd if=/dev/zero of=%s/fill bs=4k 2>/dev/null; true" % state])
    deadline = time.monotonic() + 20
    refused = None
    while not refused and time.monotonic() < deadline:
        for verb in (bed.drain, bed.fill):
            answer = verb("h1")
            if not answer.get("ok"):
                refused = answer
                break
        time.sleep(0.2)
    check(refused, "the disk is full, but the controller goes on")
    check(any("log" in a["text"] or "disk" in a["text"] or "space" in a["text"] for a in bed.ask(verb="status")["alarms"])
          or not bed.ask(verb="status")["log"]["ok"], "no alarm: %s", bed.ask(verb="status"))
    check(not bed.safe("h1"), "h1 is called safe to reboot by a controller that cannot write: %s", bed.ask(verb="drain_status", kind="host", name="h1"))
    bed.machine.run("c1", ["rm", "-f", state + "/fill"])
    for verb in (bed.drain, bed.fill):  # no restart: the next change is written
        check(verb("h1").get("ok"), "there is room again, but: %s", verb("h1"))
    wait("the POP to be whole", lambda: bed.services.missing() is None, 20)
    check(not bed.ask(verb="status")["alarms"], "the alarm stays: %s", bed.ask(verb="status")["alarms"])
    load.unbroken()


def test_controller_log_torn(bed):
    load = bed.load(long=40, rate=30)
    bed.drain("h1")
    wait("h1 to own nothing", lambda: bed.host("h1")["owned"] == 0)
    index = bed.ask(verb="status")["index"]
    bed.kill("c1")
    logs = [p for p in glob.glob(bed.machine.path("c1", "state", "**"), recursive=True) if os.path.isfile(p) and "log" in os.path.basename(p)]
    check(logs, "no log in %s", os.listdir(bed.machine.path("c1", "state")))
    path = max(logs, key=os.path.getmtime)
    with open(path, "ab") as f:
        f.write(os.urandom(37))  # half a record, as a crash while appending leaves it
    bed.start("c1")
    wait("the controller to be back", lambda: bed.ask(verb="status").get("ok"), 10)
    check(bed.ask(verb="status")["index"] >= index, "entries were lost")
    bed.drained("h1")
    load.unbroken()


def test_second_step_waits_for_the_new_owner(bed):
    """A new owner whose agent hangs has not set its network filters: its buckets stay where they are until it has, and it is named."""
    load = bed.load(long=40, rate=30)
    agent = bed.machine.processes("h2", "baton-agentd")[0]
    agent.signal(signal.SIGSTOP)
    answer = bed.drain("h1")
    coming = answer.get("to", {}).get("h2")
    check(coming, "h2 gets nothing: %s", answer)
    wait("all but h2's buckets to have moved", lambda: bed.host("h1")["owned"] == coming, 2, every=0.02)
    blocked = bed.ask(verb="drain_status", kind="host", name="h1")["blocked"]
    check([b.get("host") for b in blocked] == ["h2"] and "filters" in blocked[0]["why"], "who is waited for: %s", blocked)
    check("moves wait for host h2" in bed.baton("show"), "the status does not name it")
    time.sleep(0.5)
    check(bed.host("h1")["owned"] == coming, "h2 became owner without its filters")
    agent.signal(signal.SIGCONT)
    wait("h2 to become owner", lambda: bed.host("h1")["owned"] == 0, 5)
    bed.drained("h1")
    bed.fill("h1")
    bed.settled()
    load.unbroken()
