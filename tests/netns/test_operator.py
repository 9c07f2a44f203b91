# SPDX-License-Identifier: BSD-2-Clause
"""What an operator asks and orders, against the real daemons: explain, top, a roll that stops and goes on."""
import json
import os

from bed import check, options, wait
from plan import VIP4, VIP6


def explain(bed, flow):
    answer = json.loads(bed.baton("explain", flow["client"], flow["vip"], "-j"))
    return answer, {h["name"]: h["answer"] for h in answer["hosts"]}


@options(hosts=3)
def test_explain_and_top(bed):
    load = bed.load(long=60, rate=20)
    flows = json.loads(bed.baton("show", "flows", "--host", "h1", "-j"))["hosts"][0]["answer"]["flows"]
    for vip in (VIP4, VIP6):
        # One that lives for long: a download.  What the host has is what the answer must say.
        flow = next(f for f in flows if vip in f["vip"] and f["state"] == "established")
        answer, hosts = explain(bed, flow)
        check(answer["agree"] and answer["triple"] == ["h1"], "the owner is h1, not %s", answer["triple"])
        check(len({s["answer"]["bucket"] for s in answer["switches"]} | {h["bucket"] for h in hosts.values()}) == 1, "buckets: %s", answer)
        check(hosts["h1"]["position"] == 0 and "position" not in {k for k, v in hosts["h2"].items() if v is not None}, "who is in it: %s", hosts)
    text = bed.baton("explain", flow["client"], flow["vip"])
    check("owner h1" in text and "SWITCH" in text and "WOULD NOW" in text, "the text: %s", text)
    top = bed.baton("top", "-n", "1")
    check("POP demo" in top and all(h in top for h in bed.plan.hosts) and "\x1b" not in top, "top: %s", top)
    lines = bed.baton("top", "-n", "2", "--every", "100ms", "-j").splitlines()
    check(len(lines) == 2 and all(len(json.loads(l)["host"]) == 3 for l in lines), "top -j: %s", lines)
    # In a drain the same flow is of another owner, who would send it on to h1.
    bed.drain("h1")
    wait("h1 to own nothing", lambda: bed.host("h1")["owned"] == 0)
    flows = json.loads(bed.baton("show", "flows", "--host", "h1", "-j"))["hosts"][0]["answer"]["flows"]
    flow = next(f for f in flows if f["state"] == "established")
    answer, hosts = explain(bed, flow)
    owner = answer["triple"][0]
    check(owner != "h1" and "h1" in answer["triple"], "in the drain: %s", answer["triple"])
    check("to h1" in hosts[owner]["decision"], "%s would not send it on: %s", owner, hosts[owner])
    check(json.loads(bed.baton("top", "-n", "1", "-j"))["host"][0]["admin"] == "draining", "top does not show the drain")
    load.unbroken()
    # The control: a switch that does not answer is named, and somebody who asks for no VIP is refused.
    check("no answer" not in bed.baton("explain", flow["client"], flow["vip"]), "somebody is silent")
    bed.baton("explain", flow["client"], "192.0.2.99:80", expect=3)


@options(hosts=3)
def test_roll_stops_and_resumes(bed):
    """The command fails on h2 until its cause is gone; --resume repeats that step, goes on, and leaves nothing behind."""
    state, repaired = bed.machine.path("c1", "roll"), bed.machine.path("c1", "repaired")
    log = bed.machine.path("c1", "ran")
    command = "echo $BATON_HOST >> %s; test $BATON_HOST != h2 || test -e %s" % (log, repaired)
    text = bed.baton("roll", "--exec", command, "--timeout", "40s", "--state", state, expect=1, timeout=80)
    check("stops at host h2" in text and "baton roll --resume --state " + state in text, "no word on how to go on: %s", text)
    check(bed.host("h2")["admin"] == "out" and bed.host("h3")["admin"] == "in", "h2 %s, h3 %s", bed.host("h2")["admin"], bed.host("h3")["admin"])
    text = bed.baton("roll", "--state", state, expect=1)
    check("a roll stopped at host h2" in text, "a second roll begins over the first: %s", text)
    open(repaired, "w").close()
    bed.baton("roll", "--resume", "--state", state, "--timeout", "40s", timeout=80)
    with open(log) as f:
        ran = f.read().split()
    check(ran == ["h1", "h2", "h2", "h3"], "the command ran on %s", ran)
    check(all(bed.host(h)["admin"] == "in" and bed.host(h)["owned"] > 0 for h in bed.plan.hosts), "not all serve again")
    check(not os.path.exists(state), "the state of the finished roll is left")
