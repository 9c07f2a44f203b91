# SPDX-License-Identifier: BSD-2-Clause
"""baton-l7d on every host, each in front of all hosts' nginx: what a host's drain means for those who use its server."""
import subprocess
import time

from bed import check, options, wait
from plan import VIP4


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
