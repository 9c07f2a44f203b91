# SPDX-License-Identifier: BSD-2-Clause
"""The demo POP itself, without Baton's daemons: routers talk, web servers answer, everything can be taken away."""
from bed import check, options, wait
from plan import CLIENT_NET4, CLIENT_NET6


@options(bare=True)
def test_routers_and_servers(bed):
    for s in bed.plan.switches:
        for family, net in (("-4", CLIENT_NET4), ("-6", CLIENT_NET6)):
            wait("%s has two ways to the client's %s" % (s, net),
                 lambda: bed.run(s, "ip", family, "route", "show", net).count("via ") == 2, 20)
    for h in bed.plan.hosts:
        wait("nginx on " + h, lambda: bed.services.nginx_answers(h) is None, 5)
        check(bed.run(h, "ip", "route", "show", "default") == "", "%s has a default route to the outside", h)


@options(bare=True, hosts=2, upstreams=["frr"], switches=["netlink"])
def test_small_pop(bed):
    wait("s1 has a way to the client", lambda: "via " in bed.run("s1", "ip", "route", "show", CLIENT_NET4), 20)
