# SPDX-License-Identifier: BSD-2-Clause
"""`baton demo` as somebody calls it: up and down, to look around; and its proof with hand-off and without, over one host."""
import json
import os
import subprocess

from bed import BUILD, check, options


def demo(bed, *words, status=0, timeout=80):
    """What it says on stdout; with -j all else that it says is shown if it goes wrong."""
    apart = subprocess.PIPE if "-j" in words else subprocess.STDOUT
    r = subprocess.run([os.path.join(BUILD, "baton"), "demo", *words], stdout=subprocess.PIPE, stderr=apart, text=True,
                       env=dict(os.environ, BATON_POP_PREFIX=bed.prefix), timeout=timeout)
    check(r.returncode == status, "baton demo %s: exit %d: %s", " ".join(words), r.returncode, (r.stderr or r.stdout)[-1500:])
    return r.stdout


@options(bare=True, hosts=2)
def test_demo_up_and_down(bed):
    text = demo(bed, "up", status=1)
    check("is already up" in text and "baton demo down` removes it" in text, "a second up does not say what removes the first: %s", text)
    demo(bed, "down")
    text = demo(bed, "up")
    check("pop baton --prefix %s show hosts" % bed.prefix in text, "no word on how to look around: %s", text)
    check("exec --prefix %s client curl" % bed.prefix in text, "no word on how to ask the service: %s", text)
    demo(bed, "down")


def proof(bed, *words):
    """One host is drained, restarted and filled; the verdict, in which nothing broke and without detours something did."""
    demo(bed, "down")
    verdict = json.loads(demo(bed, "--quick", "-j", *words, timeout=95))
    check(verdict["passed"] and [d["what"] for d in verdict["drains"]] == ["host h1"], "%s", verdict)
    check(not verdict["failed"] and not verdict["broken"] and not verdict["resets"], "%s", verdict)
    check(verdict["long_connections_least"] >= 200 and verdict["tls_connections"] > 0 and verdict["detour_share"] > 0, "%s", verdict)
    check(verdict["control"]["broken"] and verdict["control"]["resets"], "the control broke nothing: %s", verdict)
    return verdict


@options(bare=True, hosts=1)
def test_demo_proves_hand_off(bed):
    moved = proof(bed)["handoffs"]
    check(moved["given"] > 200 and not moved["lost"] and not moved["reset"], "%s", moved)
    check(sorted(moved["hosts"]) == ["h1", "h2", "h3", "h4"], "%s", moved)
    check(all(h["answered"] and h["given"] and h["taken"] and h["here"] for h in moved["hosts"].values()), "not all hosts answer: %s", moved)
    check(moved["direct_share"] > 0.5, "%s", moved)


@options(bare=True, hosts=1)
def test_demo_proves_proxying(bed):
    check("handoffs" not in proof(bed, "--no-handoff"), "connections moved")
