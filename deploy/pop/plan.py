# SPDX-License-Identifier: BSD-2-Clause
"""What a demo POP consists of: names, addresses, links.  Pure: nothing here touches the machine.

Every address is from the documentation ranges (RFC 5737, RFC 3849):

    192.0.2.0/24          management: .10 controller, .20+n switch n, .30+n host n
    198.51.100.80         the VIP, with 2001:db8:80::80
    203.0.113.0/25        point-to-point links, a /30 and a 2001:db8:f:N::/64 each
    203.0.113.128/25      the client's own addresses, with 2001:db8:c::/64
"""

VIP4, VIP6, VIP_PORT, TLS_PORT = "198.51.100.80", "2001:db8:80::80", 80, 443
WEB_PORT = 8080  # of the web servers behind front ends, at the hosts' management addresses
HANDOFF_PORT = 7440  # of front ends' sessions with each other, there too
CLIENT_NET4, CLIENT_NET6 = "203.0.113.128/25", "2001:db8:c::/64"
# The load generators' sources; every other client program gets the last one.
LOAD4 = ["203.0.113.%d" % (129 + i) for i in range(8)]
LOAD6 = ["2001:db8:c::%x" % (0x81 + i) for i in range(8)]
EXPLORER4, EXPLORER6 = "203.0.113.190", "2001:db8:c::be"
AS_UPSTREAM, AS_POP = 64500, 64512


class Link:
    """A veth pair.  A point-to-point link has a number, from which its addresses follow."""

    def __init__(self, a, a_if, b, b_if, number=None):
        self.a, self.a_if, self.b, self.b_if, self.number = a, a_if, b, b_if, number

    def address(self, end):
        """(IPv4, IPv6) of the end at node `end`; a is .1, b is .2."""
        last = 1 if end == self.a else 2
        return "203.0.113.%d" % (4 * self.number + last), "2001:db8:f:%x::%d" % (self.number, last)

    def other(self, end):
        return self.b if end == self.a else self.a

    def ifname(self, end):
        return self.a_if if end == self.a else self.b_if


class Plan:
    def __init__(self, prefix="baton", hosts=4, switches=("xdp", "netlink"), upstreams=("bird", "frr"), one_armed=(), front_ends=False,
                 datapath=None, handoff=False):
        """one_armed: {host number: switch number} for hosts that have a link to that switch only.
        front_ends: baton-l7d answers on the VIPs, with every host's web server behind it; else the web servers do.
        handoff: what is asked for below /o/ is answered by one host's server each, and the connection moves to that host.
        datapath: of the hosts, "ebpf" or "module"; None leaves it to them."""
        if len(prefix) > 24 or not prefix.replace("-", "").isalnum():
            raise ValueError("prefix %r: use up to 24 letters, digits and dashes" % prefix)
        if not 1 <= hosts <= 60 or not 1 <= len(switches) <= 4 or not 1 <= len(upstreams) <= 2:
            raise ValueError("a demo POP has 1..60 hosts, 1..4 switches and 1..2 upstreams")
        if datapath not in (None, "auto", "ebpf", "module"):
            raise ValueError("datapath %r: auto, ebpf or module" % datapath)
        self.prefix, self.front_ends, self.datapath = prefix, front_ends, datapath
        self.handoff = handoff and front_ends
        self.fabric = {"s%d" % (i + 1): kind for i, kind in enumerate(switches)}
        self.router = {"up%d" % (i + 1): kind for i, kind in enumerate(upstreams)}
        self.hosts = ["h%d" % (i + 1) for i in range(hosts)]
        self.switches, self.upstreams = list(self.fabric), list(self.router)
        self.controllers = ["c1"]
        self.one_armed = {"h%d" % h: "s%d" % s for h, s in dict(one_armed).items()}
        self.managed = self.controllers + self.switches + self.hosts
        self.nodes = ["mgmt", "client"] + self.upstreams + self.managed
        self.client_links = [Link(u, "client", "client", u, i) for i, u in enumerate(self.upstreams)]
        self.uplinks = [Link(u, s, s, u, 2 + i * 4 + j)
                        for i, u in enumerate(self.upstreams) for j, s in enumerate(self.switches)]
        self.host_links = [Link(s, h, h, "eth%d" % j) for j, s in enumerate(self.switches) for h in self.hosts
                           if self.one_armed.get(h, s) == s]
        self.peer_links = [Link(a, b, b, a) for i, a in enumerate(self.switches) for b in self.switches[i + 1:]]

    def netns(self, node):
        return "%s-%s" % (self.prefix, node)

    def management(self, node):
        number = int(node[1:])
        return "192.0.2.%d" % ({"c": 9, "s": 20, "h": 30}[node[0]] + number)

    def links_of(self, node, links):
        return [l for l in links if node in (l.a, l.b)]

    def pop_yaml(self, name, bird_socket, policy=None, interval="500ms", timeout="400ms", certificates=None):
        """The POP's configuration, as an operator would write it.  bird_socket: switch -> path; certificates: the front ends'."""
        out = ["# The demo POP.  `baton check` explains what is wrong with an edited copy.",
               "pop: {name: %s, buckets: 256, hash_seed: 0x1badcafe}" % name]
        if policy:
            out.append("policy: {%s}" % ", ".join("%s: %s" % kv for kv in policy.items()))
        out.append("controllers:")
        for i, c in enumerate(self.controllers):
            out.append('  - {name: %s, id: %d, listen: "%s:7430"}' % (c, i + 1, self.management(c)))
        out.append("switches:")
        for i, s in enumerate(self.switches):
            ports = ", ".join("%s: %s" % (l.ifname(s), l.other(s)) for l in self.links_of(s, self.host_links))
            peers = ", ".join("%s: %s" % (l.ifname(s), l.other(s)) for l in self.links_of(s, self.peer_links))
            out += ["  - name: %s" % s, "    id: %d" % (i + 1), "    fabric: %s" % self.fabric[s],
                    "    management: %s" % self.management(s), "    bridge: hosts",
                    "    uplinks: [%s]" % ", ".join(l.ifname(s) for l in self.links_of(s, self.uplinks)),
                    "    ports: {%s}" % ports]
            if peers:
                out.append("    peers: {%s}" % peers)
            out.append("    bird: %s" % bird_socket(s))
        out.append("hosts:")
        for i, h in enumerate(self.hosts):
            links = ", ".join("%s: %s" % (l.other(h), l.ifname(h)) for l in self.links_of(h, self.host_links))
            out.append("  - {name: %s, id: %d, weight: 100, management: %s, links: {%s}%s}"
                       % (h, i + 1, self.management(h), links, ", datapath: %s" % self.datapath if self.datapath else ""))
        ports = [VIP_PORT, TLS_PORT] if self.front_ends else [VIP_PORT]
        out += ["vips:", "  - name: www", '    addresses: [%s, "%s"]' % (VIP4, VIP6),
                "    ports: [%s]" % ", ".join("%d/tcp" % p for p in ports),
                "    checks: [{http: {port: 80, path: /health, interval: %s, timeout: %s, rise: 2, fall: 2}}]" % (interval, timeout)]
        if self.front_ends:
            out += self.layer_7(certificates)
        return "\n".join(out) + "\n"

    def layer_7(self, certificates):
        """Every front end leads to the web servers of all hosts: by load; and with hand-off, below /o/, to the one that has the object."""
        moved = "{path: /o/, pool: objects, mode: handoff}, " if self.handoff else ""
        out = ["edges:",
               "  - {vip: www, port: %d, routes: [%s{pool: web}]}" % (VIP_PORT, moved),
               '  - {vip: www, port: %d, tls: {certificates: %s, min_version: "1.3"}, routes: [%s{pool: web}]}' % (TLS_PORT, certificates, moved),
               "pools:"] + self.pool("web", "least_connections")
        if self.handoff:
            out += self.pool("objects", "affinity") + ["handoff: {port: %d}" % HANDOFF_PORT]
        return out

    def pool(self, name, policy):
        return ["  - name: " + name, "    policy: " + policy,
                "    backends: [%s]" % ", ".join("{host: %s, port: %d}" % (h, WEB_PORT) for h in self.hosts),
                "    check: {http: {path: /health, interval: 500ms, timeout: 400ms, rise: 1, fall: 2}}"]
