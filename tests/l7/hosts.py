# SPDX-License-Identifier: BSD-2-Clause
"""
A bed for hand-off: a client and N hosts on one bridge, each in its own network namespace, each host with the VIP on its
loopback, baton-l7d, an object server with objects of its own, and a listener for everybody's connections:

    c 192.0.2.200 ── bridge ──┬── h1 192.0.2.1  vMAC [1]
                              ├── h2 192.0.2.2  vMAC [2]
                              └── h3 192.0.2.3  vMAC [3]

Hosts that are `far` are elsewhere, behind a router that knows nothing of VIPs:

                              └── r 192.0.2.254 ── 203.0.113.3 h3

The client reaches the VIP by a route to one of them: its ingress host, which the test chooses.  Objects lie in the folders
/h1/, /h2/, ... of the host that has them; routes lead there; below /proxy/ the same by a route that says `mode: proxy`.
"""
import hashlib
import json
import os
import random
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time

from bed import BUILD, Skip, VIP, VIP6, Wrong, ask_daemon, check, run_tests, wait

CLIENT, CLIENT6 = "192.0.2.200", "2001:db8:1::c8"
SIZES = {"0": 0, "1": 1, "1k": 1 << 10, "64k": 64 << 10, "1m": 1 << 20, "16m": 16 << 20, "100m": 100 << 20}


def vmac(i):
    return "42:%02x:%02x:%02x:%02x:%02x" % (0x10 | i >> 8, i & 255, i >> 4 & 255, (i << 4 | i >> 8) & 255, i & 255)


def body(host, size):
    """The bytes of an object: another sequence on every host, and at no two places the same."""
    return random.Random(host * 1000003 + size).randbytes(size)


class Bed:
    def __init__(self, hosts=3, workers=2, name="ho", far=()):
        if not os.access(os.path.join(BUILD, "baton-l7d"), os.X_OK):
            raise Skip("baton-l7d is not built in " + BUILD)
        self.n, self.workers, self.far = hosts, workers, set(far)
        self.prefix = "bt-%s-%d-" % (name, os.getpid())
        self.dir = tempfile.mkdtemp(prefix="baton-" + name + "-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
        self.pins = "/sys/fs/bpf/" + self.prefix + "pins"
        self.children, self.more, self.env = {}, {}, {}
        self.build()

    def path(self, *names):
        return os.path.join(self.dir, *names)

    def ns(self, node):
        return self.prefix + node

    def sh(self, command):
        p = subprocess.run(command, shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if p.returncode:
            raise Wrong("%s: %s" % (command, p.stdout.strip()))
        return p.stdout

    def argv(self, node, argv):
        return ["nsenter", "--net=/run/netns/" + self.ns(node)] + [str(a) for a in argv]

    def run(self, node, argv, check=True, timeout=60, **kw):
        p = subprocess.run(self.argv(node, argv), stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout, **kw)
        if check and p.returncode:
            raise Wrong("%s: exit %d: %s%s" % (" ".join(map(str, argv)), p.returncode, p.stdout[-500:].decode(errors="replace"),
                                              p.stderr[-500:].decode(errors="replace")))
        return p.stdout

    # -- network
    def nodes(self):
        return ["s", "c"] + ["h%d" % i for i in range(1, self.n + 1)] + (["r"] if self.far else [])

    def address(self, i, family=4):
        if i in self.far:
            return "203.0.113.%d" % i if family == 4 else "2001:db8:3::%x" % i
        return "192.0.2.%d" % i if family == 4 else "2001:db8:1::%x" % i

    def build(self):
        nodes = ["c"] + ["h%d" % i for i in range(1, self.n + 1) if i not in self.far]
        for node in self.nodes():
            self.sh("ip netns add %s && ip -n %s link set lo up" % (self.ns(node), self.ns(node)))
        self.sh("ip -n {0} link add hosts type bridge && ip -n {0} link set hosts up".format(self.ns("s")))
        for node in nodes:
            ns, i = self.ns(node), int(node[1:] or 200)
            self.sh("ip -n %s link add port-%s type veth peer name eth0 netns %s" % (self.ns("s"), node, ns))
            self.sh("ip -n {0} link set port-{1} master hosts && ip -n {0} link set port-{1} up".format(self.ns("s"), node))
            if node != "c":
                self.sh("ip -n %s link set eth0 address %s" % (ns, vmac(i)))
            self.furnish(node, i)
        if self.far:
            self.build_far()
        self.ingress(1)

    def furnish(self, node, i):
        ns = self.ns(node)
        self.run(node, ["sysctl", "-qw", "net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.eth0.accept_dad=0", "net.ipv4.conf.all.rp_filter=0",
                        "net.ipv4.conf.eth0.rp_filter=0", "net.ipv4.conf.all.arp_ignore=1", "net.ipv4.conf.all.arp_announce=2",
                        "net.core.somaxconn=4096", "net.ipv4.tcp_max_syn_backlog=4096"])
        if node != "c":
            self.sh("ip -n {0} addr add {1}/32 dev lo && ip -n {0} addr add {2}/128 dev lo nodad".format(ns, VIP, VIP6))
        self.sh("ip -n {0} link set eth0 up && ip -n {0} addr add {1}/24 dev eth0 && "
                "ip -n {0} addr add {2}/64 dev eth0 nodad".format(ns, self.address(i), self.address(i, 6)))

    def build_far(self):
        """The router has an interface on the bridge and one to each host elsewhere, where it is the default route."""
        r = self.ns("r")
        self.sh("ip -n {0} link add port-r type veth peer name near netns {1} && ip -n {0} link set port-r master hosts up".format(self.ns("s"), r))
        self.sh("ip -n {0} link add far type bridge && ip -n {0} link set far up && ip -n {0} link set near up".format(r))
        self.run("r", ["sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1", "net.ipv4.conf.all.rp_filter=0",
                       "net.ipv4.conf.near.rp_filter=0", "net.ipv4.conf.far.rp_filter=0"])
        for dev, v4, v6 in ("near", "192.0.2.254", "2001:db8:1::fe"), ("far", "203.0.113.254", "2001:db8:3::fe"):
            self.sh("ip -n {0} addr add {2}/24 dev {1} && ip -n {0} addr add {3}/64 dev {1} nodad".format(r, dev, v4, v6))
        for i in sorted(self.far):
            ns = self.ns("h%d" % i)
            self.sh("ip -n {0} link add to-h{1} type veth peer name eth0 netns {2} && ip -n {0} link set to-h{1} master far up".format(r, i, ns))
            self.furnish("h%d" % i, i)
            self.sh("ip -n {0} route add default via 203.0.113.254 && ip -n {0} -6 route add default via 2001:db8:3::fe".format(ns))
        for node in ["c"] + ["h%d" % i for i in range(1, self.n + 1) if i not in self.far]:
            self.sh("ip -n {0} route add 203.0.113.0/24 via 192.0.2.254 && ip -n {0} -6 route add 2001:db8:3::/64 via 2001:db8:1::fe".format(
                self.ns(node)))

    def ingress(self, host):
        self.host = host
        self.sh("ip -n {0} route replace {1} via 192.0.2.{2} && ip -n {0} -6 route replace {3} via 2001:db8:1::{2:x}".format(
            self.ns("c"), VIP, host, VIP6))

    # -- the POP
    def linked(self, i):
        """Does pop.yaml say that a switch has a port to it?  `links`: of a host elsewhere it says so too, which is not true."""
        return i not in self.far or self.more.get("links")

    def host_conf(self, i):
        host = {"name": "h%d" % i, "id": i, "management": self.address(i)}
        host.update({"links": {"s1": "eth0"}} if self.linked(i) else {"elsewhere": ["eth0"]})
        if self.more.get("outer") == 6:
            host["tunnel"] = self.address(i, 6)
        return host

    def conf(self, workers=None):
        hosts = ["h%d" % i for i in range(1, self.n + 1)]
        routes = [dict({"path": "/%s/" % h, "pool": h}, mode=self.more.get("mode", "handoff")) for h in hosts]
        routes += [{"path": "/proxy/%s/" % h, "pool": h, "mode": "proxy"} for h in hosts]
        routes += [{"path": "/web/%s/" % h, "pool": "web-" + h, "mode": self.more.get("mode", "handoff")} for h in hosts]
        routes += self.more.get("routes", [])
        routes.append({"pool": "all", "mode": self.more.get("mode", "handoff")})
        edges = [{"vip": "www", "port": 80, "routes": routes},
                 {"vip": "www", "port": 443, "http2": False, "tls": dict({"certificates": self.path("certs")}, **self.more.get("tls", {})),
                  "routes": routes}]
        pop = {
            "pop": {"name": "demo", "buckets": 256, "hash_seed": 1},
            "controllers": [{"name": "c1", "id": 1, "listen": "192.0.2.250:7430"}],
            "switches": [{"name": "s1", "id": 1, "management": "192.0.2.251", "bridge": "hosts", "uplinks": ["up0"],
                          "ports": {"port-" + h: h for i, h in enumerate(hosts, 1) if self.linked(i)}}],
            "hosts": [self.host_conf(i) for i in range(1, self.n + 1)],
            "vips": [{"name": "www", "addresses": [VIP, VIP6], "ports": ["80/tcp", "443/tcp"]}],
            "edges": edges,
            "pools": [{"name": h, "backends": [{"host": h, "port": self.more.get("port", 7480)}], "slow_start": "0s"} for h in hosts] +
                     [{"name": "web-" + h, "backends": [{"host": h, "port": 8080}], "slow_start": "0s"} for h in hosts] +
                     [{"name": "all", "policy": "affinity", "slow_start": "0s",
                       "backends": [{"host": h, "port": self.more.get("port", 7480)} for h in hosts]}] + self.more.get("pools", []),
            "handoff": self.more.get("handoff", {}),
        }
        return pop

    def write_conf(self):
        for i in range(1, self.n + 1):
            pop = dict(self.conf(), store={"directory": self.path("objects", "h%d" % i), "writable": True},
                       access_log={"path": self.path("h%d.access" % i)})
            with open(self.path("h%d.yaml.new" % i), "w") as f:
                f.write(json.dumps(pop, indent=1))
            os.rename(self.path("h%d.yaml.new" % i), self.path("h%d.yaml" % i))

    def objects(self, sizes):
        self.sums = {}
        for i in range(1, self.n + 1):
            for folder in ("h%d" % i, "proxy/h%d" % i, "web/h%d" % i):
                os.makedirs(self.path("objects", "h%d" % i, folder), exist_ok=True)
            for name in sizes:
                data = body(i, SIZES[name])
                for folder in ("h%d" % i, "proxy/h%d" % i, "web/h%d" % i):
                    self.sums["/%s/%s" % (folder, name)] = hashlib.sha256(data).hexdigest()
                    with open(self.path("objects", "h%d" % i, folder, name), "wb") as f:
                        f.write(data)

    def walks(self, names=("0", "1", "1k", "64k", "1m")):
        """Objects for tests/load/walk.c."""
        for i in range(1, self.n + 1):
            words = b"".join((i << 56 | o).to_bytes(8, "big") for o in range(0, 1 << 20, 8))
            for name in names:
                for folder in ("h%d" % i, "proxy/h%d" % i, "web/h%d" % i):
                    with open(self.path("objects", "h%d" % i, folder, "w" + name), "wb") as f:
                        f.write(words[:SIZES[name]])

    def walk(self, *args, port=80, address=VIP, timeout=120):
        """What tests/load/walk prints; a wrong byte or a lost connection is an error."""
        p = subprocess.run(self.argv("c", [os.path.join(BUILD, "tests/load/walk"), address, port, "hosts=%d" % self.n, *args]),
                           stdout=subprocess.PIPE, timeout=timeout)
        got = json.loads(p.stdout)
        check(p.returncode == 0, "walk %s: %s", args, got)
        return got

    def roles(self):
        """Of certificates."""
        return [("edge", i) for i in range(1, self.n + 1)]

    def start(self, sizes=("0", "1", "1k", "64k", "1m")):
        baton = os.path.join(BUILD, "baton")
        subprocess.run([baton, "pki", "init", "--dir", self.path("pki"), "--pop", "demo"], check=True, stdout=subprocess.DEVNULL)
        for role, i in self.roles():
            subprocess.run([baton, "pki", "issue", "--dir", self.path("pki"), "--role", role, "--id", str(i)], check=True,
                           stdout=subprocess.DEVNULL)
        os.makedirs(self.path("certs"))
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj",
                        "/CN=www.example.net", "-addext", "subjectAltName=DNS:www.example.net", "-keyout", self.path("key"), "-out",
                        self.path("crt")], check=True, stderr=subprocess.DEVNULL)
        with open(self.path("certs", "www.pem"), "w") as out:
            out.write(open(self.path("crt")).read() + open(self.path("key")).read())
        os.makedirs(self.pins)
        self.objects(sizes)
        self.write_conf()
        for i in range(1, self.n + 1):
            self.l7d(i)
        self.await_sessions()

    def l7d(self, i, *args):
        for d in ("run", "state"):
            os.makedirs(self.path("h%d" % i, d), exist_ok=True)
        log = open(self.path("h%d.log" % i), "ab")
        self.children["h%d" % i] = subprocess.Popen(
            self.argv("h%d" % i, [os.path.join(BUILD, "baton-l7d"), "--standalone", "--workers", self.workers, "--drain", "1", "--config",
                                  self.path("h%d.yaml" % i), "--tls", self.path("pki", "edge-%d" % i), "--run", self.path("h%d" % i, "run"),
                                  "--state", self.path("h%d" % i, "state"), "--metrics", "127.0.0.1:9746", *args]),
            stdout=log, stderr=log, env=dict(os.environ, BATON_PIN_DIR=self.pins, **self.env))
        wait("baton-l7d of h%d" % i, lambda: self.ask(i, "status"))
        wait("listeners of h%d" % i, lambda: VIP in self.run("h%d" % i, ["ss", "-Hltn", "sport", "= 443"]).decode())

    def nginx(self, i):
        conf = self.path("nginx-h%d.conf" % i)
        with open(conf, "w") as f:
            f.write("""daemon off; user root; worker_processes 1; pid {0}/nginx-h{1}.pid; error_log {0}/nginx-h{1}.err;
events {{ worker_connections 4096; }}
http {{ access_log off; sendfile on; keepalive_requests 1000000; default_type application/octet-stream;
    client_body_temp_path {0}/tmp; proxy_temp_path {0}/tmp; fastcgi_temp_path {0}/tmp; uwsgi_temp_path {0}/tmp; scgi_temp_path {0}/tmp;
    server {{ listen {2}:8080; root {0}/objects/h{1};
        location ~ /who$ {{ return 200 "h{1}|$http_client_cert|$http_client_cert_chain|$http_x_control\\n"; }} }} }}""".format(self.dir, i, self.address(i)))
        self.children["nginx%d" % i] = subprocess.Popen(self.argv("h%d" % i, ["nginx", "-p", self.dir, "-c", conf]))
        wait("nginx of h%d" % i, lambda: self.run("h%d" % i, ["ss", "-Hltn", "sport", "= 8080"]).strip())

    def await_sessions(self):
        """Each pair of hosts that run, each worker."""
        running = [i for i in range(1, self.n + 1) if "h%d" % i in self.children]
        want = (len(running) - 1) * self.workers
        for i in running:
            wait("sessions of h%d" % i, lambda i=i: self.metric(i, "baton_l7_handoff_sessions") == want, 15)

    def reconfigure(self, **more):
        self.more = more
        self.write_conf()
        self.reload(*range(1, self.n + 1))

    def reload(self, *hosts):
        for i in hosts:
            before = self.ask(i, "status")["index"]
            self.children["h%d" % i].send_signal(signal.SIGHUP)
            wait("reload", lambda: (self.ask(i, "status") or {}).get("index", 0) > before)

    def pid(self, i):
        """Of the daemon itself: nsenter has become it."""
        return self.children["h%d" % i].pid

    def stop(self, i):
        """It stands still, all of its threads: a signal alone does not wait for that."""
        os.kill(self.pid(i), signal.SIGSTOP)
        def still():
            for task in os.listdir("/proc/%d/task" % self.pid(i)):
                with open("/proc/%d/task/%s/stat" % (self.pid(i), task)) as f:
                    if f.read().rsplit(")", 1)[1].split()[0] != "T":
                        return False
            return True
        wait("h%d stands still" % i, still, 5)

    def go_on(self, i):
        os.kill(self.pid(i), signal.SIGCONT)

    def end(self, i, sig=signal.SIGTERM):
        p = self.children.pop("h%d" % i)
        p.send_signal(sig)
        p.wait(10)
        return p.returncode

    def log(self, i):
        with open(self.path("h%d.log" % i), errors="replace") as f:
            return f.read()

    def access(self, i):
        time.sleep(0.7)  # written five times a second
        with open(self.path("h%d.access" % i)) as f:
            return [json.loads(line) for line in f]

    def ask(self, i, verb, **args):
        return ask_daemon(self.path("h%d" % i, "run", "l7d.sock"), verb, args)

    def metrics(self, i):
        return self.run("h%d" % i, ["curl", "-s", "-m", "3", "http://127.0.0.1:9746/metrics"], check=False).decode()

    def metric(self, i, name, **labels):
        total = 0.0
        for line in self.metrics(i).splitlines():
            head, _, value = line.rpartition(" ")
            if head.split("{")[0] == name and all('%s="%s"' % kv in head for kv in labels.items()):
                total += float(value)
        return total

    def sent(self, i):
        out = self.sh("ip -n %s -s -j link show eth0" % self.ns("h%d" % i))
        return json.loads(out)[0]["stats64"]["tx"]["bytes"]

    # -- the client
    def curl(self, *args, check=True, timeout=20):
        return self.run("c", ["curl", "-sS", "--max-time", timeout, "--cacert", self.path("crt"), "--resolve",
                              "www.example.net:443:" + VIP, "--resolve", "www.example.net:80:" + VIP] + list(args), check=check,
                        timeout=timeout + 5)

    def rows(self, i):
        """What the kernel of host i forwards or holds."""
        import glob
        found = glob.glob("%s/*-h%d-rows/rows" % (self.pins, i))
        return json.loads(self.sh("bpftool -j map dump pinned %s" % found[0])) if found else []

    def left(self, orphans=False):
        """Rows that hold, or that do not end by themselves within MOVE_PASSING_MS (orphans: MOVE_ORPHAN_MS)."""
        left = []
        for i in range(1, self.n + 1):
            for r in self.rows(i):
                value = bytes(int(x, 16) for x in r["value"])
                end = int.from_bytes(value[8:16], "little")
                if value[48] == 1 or not end or end > time.monotonic_ns() + (610 if orphans else 31) * 10**9:
                    left.append("h%d: %016x, %s, owner %d, e %d, %s" % (
                        i, int.from_bytes(value[:8], "little"), ["none", "hold", "forward", "closing", "ended"][value[48]],
                        int.from_bytes(value[44:46], "little"), int.from_bytes(value[40:44], "little"),
                        "for ever" if not end else "for %g s" % ((end - time.monotonic_ns()) / 1e9)))
        return left

    def socket(self, address=(VIP, 80), timeout=10, family=socket.AF_INET, rcvbuf=0, kind=socket.SOCK_STREAM, protocol=0):
        import ctypes
        libc = ctypes.CDLL(None, use_errno=True)
        with open("/run/netns/" + self.ns("c")) as ns, open("/proc/self/ns/net") as own:
            check(libc.setns(ns.fileno(), 0x40000000) == 0, "setns")
            try:
                s = socket.socket(family, kind, protocol)
            finally:
                libc.setns(own.fileno(), 0x40000000)
        s.settimeout(timeout)
        if rcvbuf:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        if address:
            s.connect(address)
        return s

    def close(self):
        problems = []
        for name in sorted(self.children):
            p = self.children[name]
            if p.poll() is None:
                p.send_signal(signal.SIGCONT)
                p.terminate()
        for name, p in self.children.items():
            try:
                p.wait(10)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()
                problems.append("baton-l7d of %s did not end" % name)
            if p.returncode and name[0] == "h":
                problems.append("baton-l7d of %s ended with %d: %s" % (name, p.returncode, self.log(int(name[1:]))[-3000:]))
        for i in range(1, self.n + 1):
            if os.path.exists(self.path("h%d.log" % i)) and "ERROR: AddressSanitizer" in self.log(i):
                problems.append(self.log(i)[-4000:])
        for node in self.nodes():
            subprocess.run(["ip", "netns", "del", self.ns(node)])
        shutil.rmtree(self.pins, ignore_errors=True)
        if os.environ.get("BATON_KEEP"):
            print("# kept: " + self.dir)
        else:
            shutil.rmtree(self.dir, ignore_errors=True)
        return problems


class Http:
    """One connection; what it reads it checks."""

    def __init__(self, bed, tls=False, family=socket.AF_INET, timeout=10, rcvbuf=0):
        self.bed = bed
        self.s = bed.socket((VIP6 if family == socket.AF_INET6 else VIP, 443 if tls else 80), timeout, family, rcvbuf)
        self.s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            context = ssl.create_default_context(cafile=bed.path("crt"))
            if tls == 1.2:
                context.maximum_version = ssl.TLSVersion.TLSv1_2
            self.s = context.wrap_socket(self.s, server_hostname="www.example.net")
        self.f = self.s.makefile("rb")

    def ask(self, path, more=""):
        self.s.sendall(("GET %s HTTP/1.1\r\nHost: www.example.net\r\n%s\r\n" % (path, more)).encode())

    def head(self):
        status = self.f.readline()
        check(status, "the connection ended")
        fields = {}
        for line in iter(self.f.readline, b"\r\n"):
            check(line, "the connection ended in a head")
            name, value = line.decode().split(":", 1)
            fields[name.lower()] = value.strip()
        return int(status.split()[1]), fields

    def answer(self, path):
        status, fields = self.head()
        check(status == 200, "%s: %d", path, status)
        left, digest = int(fields["content-length"]), hashlib.sha256()
        while left:
            data = self.f.read(min(left, 1 << 20))
            check(data, "%s: %d bytes are missing", path, left)
            digest.update(data)
            left -= len(data)
        check(digest.hexdigest() == self.bed.sums[path], "%s: wrong bytes", path)

    def get(self, path, more=""):
        self.ask(path, more)
        self.answer(path)

    def put(self, path, data):
        """At once, without asking first."""
        self.s.sendall(b"PUT %s HTTP/1.1\r\nHost: www.example.net\r\nContent-Length: %d\r\n\r\n" % (path.encode(), len(data)) + data)
        status, fields = self.head()
        self.f.read(int(fields.get("content-length", 0)))
        check(status // 100 == 2, "PUT %s: %d", path, status)
        self.bed.sums[path] = hashlib.sha256(data).hexdigest()

    def close(self):
        self.f.close()
        self.s.close()


def totals_of(bed, *hosts):
    """Moves by outcome."""
    return {o: sum(bed.metric(i, "baton_l7_handoffs_total", outcome=o) for i in hosts) for o in ("given", "resumed", "lost")}


def totals(bed):
    return totals_of(bed, *range(1, bed.n + 1))


def since(bed, before):
    now = totals(bed)
    return {o: int(now[o] - before[o]) for o in now}


def main(tests, **bed_args):
    if os.geteuid():
        print("skip all: needs root")
        return 0
    return run_tests(tests, Bed(**bed_args), lambda bed: bed.start(sizes=("0", "1", "1k", "64k", "1m", "16m", "100m")))
