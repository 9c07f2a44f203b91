# SPDX-License-Identifier: BSD-2-Clause
"""Configurations of the routing daemons: BIRD on switches (with the shipped fragment), BIRD and FRR upstream.

BFD finds a silent neighbour in 5 x 200 ms.  Routers do it in 150 ms, but in hardware or in a process that
always gets its turn; here one busy machine plays ten of them.
"""
from plan import AS_POP, AS_UPSTREAM, CLIENT_NET4, CLIENT_NET6

BFD_MS, BFD_MULTIPLIER = 200, 5


def sessions(plan, node):
    """(neighbour node, interface, our address, its address, family) of every BGP session of a router."""
    for l in plan.links_of(node, plan.uplinks):
        mine, its = l.address(node), l.address(l.other(node))
        for family in (4, 6):
            yield l.other(node), l.ifname(node), mine[family == 6], its[family == 6], family


def bird_common(plan, node):
    first = next(sessions(plan, node))
    return ["log stderr all;", "router id %s;" % first[2], "protocol device { scan time 5; }",
            "protocol bfd { interface \"*\" { min rx interval %d ms; min tx interval %d ms; multiplier %d; }; }"
            % (BFD_MS, BFD_MS, BFD_MULTIPLIER)]


def bird_switch(plan, node, fragment):
    out = bird_common(plan, node)
    out += ['include "%s";' % fragment,
            # What upstreams announce goes to the main table; what we announce is the fragment's business.
            "protocol kernel upstream4 { merge paths on; ipv4 { import none; export where source = RTS_BGP; }; }",
            "protocol kernel upstream6 { merge paths on; ipv6 { import none; export where source = RTS_BGP; }; }"]
    for peer, ifname, mine, its, family in sessions(plan, node):
        out.append("protocol bgp %s_v%d { local %s as %d; neighbor %s as %d; bfd on; connect retry time 1; "
                   "connect delay time 1; error wait time 1, 2; startup hold time 10; hold time 9; "
                   "ipv%d { import all; export filter baton_export; }; }"
                   % (peer, family, mine, AS_POP, its, AS_UPSTREAM, family))
    return "\n".join(out) + "\n"


def bird_upstream(plan, node):
    out = bird_common(plan, node)
    client = next(l for l in plan.client_links if l.a == node)
    v4, v6 = client.address("client")
    out += ["protocol static client4 { ipv4; route %s via %s; }" % (CLIENT_NET4, v4),
            "protocol static client6 { ipv6; route %s via %s; }" % (CLIENT_NET6, v6),
            "filter from_pop { if (65535, 0) ~ bgp_community then bgp_local_pref = 0; accept; }"]
    for family in (4, 6):
        out.append("protocol kernel kernel%d { merge paths on; ipv%d { import none; export all; }; }" % (family, family))
    for peer, ifname, mine, its, family in sessions(plan, node):
        out.append("protocol bgp %s_v%d { local %s as %d; neighbor %s as %d; bfd on; connect retry time 1; "
                   "connect delay time 1; error wait time 1, 2; "
                   "ipv%d { import filter from_pop; export where source = RTS_STATIC; }; }"
                   % (peer, family, mine, AS_UPSTREAM, its, AS_POP, family))
    return "\n".join(out) + "\n"


def frr_upstream(plan, node):
    """Daemon -> configuration.  FRR gives GRACEFUL_SHUTDOWN (RFC 8326) local preference 0 by itself."""
    client = next(l for l in plan.client_links if l.a == node)
    v4, v6 = client.address("client")
    head = ["hostname %s" % node, "log stdout"]
    bfd = ["bfd", " profile pop", "  detect-multiplier %d" % BFD_MULTIPLIER, "  receive-interval %d" % BFD_MS,
           "  transmit-interval %d" % BFD_MS, " exit", "exit"]
    all_sessions = list(sessions(plan, node))
    bgp = ["router bgp %d" % AS_UPSTREAM, " bgp router-id %s" % all_sessions[0][2], " no bgp ebgp-requires-policy",
           " no bgp default ipv4-unicast", " timers bgp 3 9"]
    for _, _, _, its, _ in all_sessions:
        bgp += [" neighbor %s remote-as %d" % (its, AS_POP), " neighbor %s timers connect 1" % its,
                " neighbor %s bfd" % its, " neighbor %s bfd profile pop" % its,
                " neighbor %s advertisement-interval 0" % its]
    for family, net in ((4, CLIENT_NET4), (6, CLIENT_NET6)):
        bgp += [" address-family ipv%d unicast" % family, "  network %s" % net, "  maximum-paths 8"]
        bgp += ["  neighbor %s activate" % its for _, _, _, its, f in all_sessions if f == family]
        bgp.append(" exit-address-family")
    static = ["ip route %s %s" % (CLIENT_NET4, v4), "ipv6 route %s %s" % (CLIENT_NET6, v6)]
    parts = {"zebra": head, "staticd": head + static, "bfdd": head + bfd, "bgpd": head + bgp + ["exit"]}
    return {daemon: "\n".join(lines) + "\n" for daemon, lines in parts.items()}
