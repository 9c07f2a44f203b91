# SPDX-License-Identifier: BSD-2-Clause
"""Puts a plan's links, bridges and addresses into namespaces, through `ip -batch`."""
from machine import run
from plan import EXPLORER4, EXPLORER6, LOAD4, LOAD6

# No duplicate address detection (addresses would be tentative for a second) and nothing learned.
BASE_SYSCTL = {
    "net.ipv6.conf.all.disable_ipv6": 0, "net.ipv6.conf.default.disable_ipv6": 0,
    "net.ipv6.conf.all.accept_dad": 0, "net.ipv6.conf.default.accept_dad": 0,
    "net.ipv6.conf.default.dad_transmits": 0, "net.ipv6.conf.default.router_solicitations": 0,
    "net.ipv6.conf.all.accept_ra": 0, "net.ipv6.conf.default.accept_ra": 0,
    "net.ipv4.conf.all.rp_filter": 0, "net.ipv4.conf.default.rp_filter": 0,
}
ROUTER_SYSCTL = {
    "net.ipv4.ip_forward": 1, "net.ipv6.conf.all.forwarding": 1,
    "net.ipv4.fib_multipath_hash_policy": 1, "net.ipv6.fib_multipath_hash_policy": 1,
    # A next hop behind a dead link is not used while the routing daemon has not noticed.
    "net.ipv4.conf.all.ignore_routes_with_linkdown": 1, "net.ipv4.conf.default.ignore_routes_with_linkdown": 1,
    "net.ipv6.conf.all.ignore_routes_with_linkdown": 1, "net.ipv6.conf.default.ignore_routes_with_linkdown": 1,
}
# The client makes some hundred connections a second from eight addresses: more ports, none reused in a hurry.
CLIENT_SYSCTL = dict(ROUTER_SYSCTL, **{"net.ipv4.ip_forward": 0, "net.ipv6.conf.all.forwarding": 0,
                                       "net.ipv4.ip_local_port_range": "10000 65000"})


def set_sysctls(machine, node, values):
    machine.run(node, ["sysctl", "-q", "-w"] + ["%s=%s" % kv for kv in values.items()])


def tune(machine, node, ifname):
    """veth carries XDP_REDIRECT only toward a peer with GRO (or XDP), and frames that are whole: no
    checksum and no segmentation left to do.  `tx off` does that at the sender."""
    machine.run(node, ["ethtool", "-K", ifname, "tx", "off", "gro", "on"])


def create(machine, plan, sysctl_files):
    for node in plan.nodes:
        machine.add_netns(node, plan.netns(node))
        set_sysctls(machine, node, BASE_SYSCTL)
        if node in plan.upstreams or node in plan.switches:
            set_sysctls(machine, node, ROUTER_SYSCTL)
        if node == "client":
            set_sysctls(machine, node, CLIENT_SYSCTL)
        kind = "switch" if node in plan.switches else "host" if node in plan.hosts else None
        for path in sysctl_files.get(kind, []):
            machine.run(node, ["sysctl", "-q", "-e", "-p", path], check=False)  # some settings are not per namespace

    batch = []
    for l in plan.client_links + plan.uplinks + plan.host_links + plan.peer_links:
        batch.append("link add %s netns %s type veth peer name %s netns %s"
                     % (l.a_if, plan.netns(l.a), l.b_if, plan.netns(l.b)))
    for node in plan.managed:
        batch.append("link add %s netns %s type veth peer name mgmt netns %s"
                     % (node, plan.netns("mgmt"), plan.netns(node)))
    run(["ip", "-batch", "-"], text="\n".join(batch) + "\n")

    for node in plan.nodes:
        machine.run(node, ["ip", "-batch", "-"], text="\n".join(node_commands(plan, node)) + "\n")
        for l in plan.links_of(node, plan.client_links + plan.uplinks + plan.host_links + plan.peer_links):
            tune(machine, node, l.ifname(node))
    know_routers(machine, plan)
    for s in plan.switches:
        for l in plan.links_of(s, plan.host_links + plan.peer_links):
            machine.run(s, ["bridge", "link", "set", "dev", l.ifname(s), "learning", "off", "flood", "off",
                            "mcast_flood", "off", "bcast_flood", "off"])


def know_routers(machine, plan):
    """The client stands for many, each behind routers of its own: that one of its two next hops is gone must not
    come to its sockets as a neighbour that does not answer (EHOSTUNREACH after 3 s), but as packets lost."""
    batch = []
    for l in plan.client_links:
        mac = machine.run(l.a, ["cat", "/sys/class/net/%s/address" % l.ifname(l.a)]).strip()
        batch += ["neighbour replace %s lladdr %s dev %s nud permanent" % (a, mac, l.ifname("client")) for a in l.address(l.a)]
    machine.run("client", ["ip", "-batch", "-"], text="\n".join(batch) + "\n")


def node_commands(plan, node):
    c = ["link set lo up"]
    if node == "mgmt":
        c += ["link add br0 type bridge", "link set br0 up"]
        c += ["link set %s master br0 up" % n for n in plan.managed]
    if node in plan.managed:
        c += ["address add %s/24 dev mgmt" % plan.management(node), "link set mgmt up"]
    if node == "client":
        c += ["address add %s/32 dev lo" % a for a in LOAD4 + [EXPLORER4]]
        c += ["address add %s/128 dev lo nodad" % a for a in LOAD6 + [EXPLORER6]]
    if node in plan.switches:
        # A bridge with a row for each address that is in use and none other: it learns and floods nothing.
        # `keep` is always up, so that the bridge has carrier when every host is gone.
        c += ["link add hosts type bridge stp_state 0 ageing_time 0 mcast_snooping 0",
              "link add keep type veth peer name keep-peer",
              "link set keep master hosts up", "link set keep-peer up"]
        for l in plan.links_of(node, plan.host_links + plan.peer_links):
            c.append("link set %s master hosts up" % l.ifname(node))
        c.append("link set hosts up")
    if node in plan.hosts:
        c += ["link set %s up" % l.ifname(node) for l in plan.links_of(node, plan.host_links)]
    for l in plan.links_of(node, plan.client_links + plan.uplinks):
        v4, v6 = l.address(node)
        c += ["address add %s/30 dev %s" % (v4, l.ifname(node)), "address add %s/64 dev %s nodad" % (v6, l.ifname(node)),
              "link set %s up" % l.ifname(node)]
    if node == "client":
        via = [l.address(l.a) for l in plan.client_links]
        c.append("route add 198.51.100.0/24 src %s %s" % (EXPLORER4, " ".join("nexthop via " + v4 for v4, _ in via)))
        c.append("route add 2001:db8:80::/48 src %s %s" % (EXPLORER6, " ".join("nexthop via " + v6 for _, v6 in via)))
    return c
