# SPDX-License-Identifier: BSD-2-Clause
"""
Where layer 7 is tested and measured: three network namespaces in a row,

    c (client) 192.0.2.2 ── 192.0.2.1 p (proxy) 198.51.100.1 ── 198.51.100.2 b (backend)

and what runs in them.  Everything that was started ends with the bed; nothing outside is touched.
"""
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, os.environ.get("B", "build"))
PROXY, CLIENT, BACKEND, INSIDE = "192.0.2.1", "192.0.2.2", "198.51.100.2", "198.51.100.1"
CPUS = os.sched_getaffinity(0)


class Failed(Exception):
    pass


def check(ok, why):
    if not ok:
        raise Failed(why)


def sh(command):
    p = subprocess.run(command, shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    check(p.returncode == 0, f"{command}: {p.stdout.strip()}")
    return p.stdout


class Bed:
    def __init__(self, name):
        self.name = f"bt-{name}-{os.getpid()}"
        self.pid, self.processes = {}, []

    def ns(self, side):
        return f"{self.name}-{side}"

    def __enter__(self):
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
        self.dir = tempfile.mkdtemp(prefix=self.name + "-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
        os.chmod(self.dir, 0o755)
        try:
            self.raise_()
        except BaseException:
            self.__exit__()
            raise
        return self

    def raise_(self):
        for side in "cpb":
            sh(f"ip netns add {self.ns(side)}")
            sh(f"ip -n {self.ns(side)} link set lo up")
        for a, b, addr_a, addr_b in (("c", "p", CLIENT, PROXY), ("p", "b", INSIDE, BACKEND)):
            sh(f"ip link add to{b} netns {self.ns(a)} type veth peer name to{a} netns {self.ns(b)}")
            for side, dev, addr in ((a, f"to{b}", addr_a), (b, f"to{a}", addr_b)):
                sh(f"ip -n {self.ns(side)} addr add {addr}/24 dev {dev}")
                sh(f"ip -n {self.ns(side)} link set {dev} up")
        for side in "cpb":
            sh(f"nsenter --net=/run/netns/{self.ns(side)} sysctl -qw net.core.somaxconn=8192 "
               "net.ipv4.ip_local_port_range='1024 65535' net.ipv4.tcp_tw_reuse=1")
        os.makedirs(f"{self.dir}/cert")
        sh(f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=www.example.net "
           f"-addext subjectAltName=DNS:www.example.net,IP:{PROXY} -keyout {self.dir}/key -out {self.dir}/crt 2>&1")
        sh(f"cat {self.dir}/crt {self.dir}/key > {self.dir}/cert/www.pem")

    def __exit__(self, *_):
        for p in reversed(self.processes):
            if p.poll() is None:
                p.terminate()
        for p in reversed(self.processes):
            try:
                p.wait(3)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()
        for side in "cpb":
            subprocess.run(["ip", "netns", "del", self.ns(side)], stderr=subprocess.DEVNULL)
        shutil.rmtree(self.dir, ignore_errors=True)

    def argv(self, side, argv, cpu=None):
        pin = ["taskset", "-c", str(cpu)] if cpu in CPUS and len(CPUS) > 1 else []
        return ["nsenter", f"--net=/run/netns/{self.ns(side)}"] + pin + argv

    def spawn(self, side, argv, cpu=None, **how):
        p = subprocess.Popen(self.argv(side, argv, cpu), **how)
        self.processes.append(p)
        return p

    def run(self, side, argv, cpu=None, seconds=60):
        p = subprocess.run(self.argv(side, argv, cpu), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                           timeout=seconds)
        check(p.returncode == 0, f"{' '.join(argv)}: {p.stdout[-2000:]}")
        return p.stdout

    def nginx(self, name, side, text, cpu=None):
        path = f"{self.dir}/{name}.conf"
        with open(path, "w") as f:
            f.write(text)
        # The files lie in a directory of root's.
        self.pid[name] = self.spawn(side, ["nginx", "-p", self.dir, "-c", path, "-g", "user root;"], cpu).pid

    def baton(self, name, side, edges, pools, more=None, cpu=None, workers=1):
        """baton-l7d without a controller, on the VIP PROXY."""
        for d in ("run", "state"):
            os.makedirs(f"{self.dir}/{d}", exist_ok=True)
        for argv in (["init", "--pop", "demo"], ["issue", "--role", "host", "--id", "1"]):
            sh(" ".join([f"{BUILD}/baton pki", argv[0], f"--dir {self.dir}/pki", *argv[1:]]))
        pop = {
            "pop": {"name": "demo", "buckets": 256, "hash_seed": 1},
            "controllers": [{"name": "c1", "id": 1, "listen": "192.0.2.10:7430"}],
            "switches": [{"name": "s1", "id": 1, "management": "192.0.2.21", "bridge": "hosts", "uplinks": ["up0"],
                          "ports": {"p1": "h1"}}],
            "hosts": [{"name": "h1", "id": 1, "management": "127.0.0.1", "links": {"s1": "eth0"}}],
            "vips": [{"name": "www", "addresses": [PROXY], "ports": sorted({"%d/tcp" % e["port"] for e in edges})}],
            "edges": edges, "pools": pools,
        }
        pop.update(more or {})
        with open(f"{self.dir}/pop.yaml", "w") as f:
            f.write(json.dumps(pop, indent=1))  # JSON is YAML
        log = open(f"{self.dir}/{name}.log", "ab")
        self.pid[name] = self.spawn(side, [f"{BUILD}/baton-l7d", "--standalone", "--workers", str(workers), "--drain", "1",
                                           "--config", f"{self.dir}/pop.yaml", "--tls", f"{self.dir}/pki/host-1", "--run",
                                           f"{self.dir}/run", "--state", f"{self.dir}/state"], cpu, stdout=log, stderr=log).pid

    def wait_port(self, side, host, port, seconds=10):
        """From another namespace, so by a process in it."""
        code = ("import socket,sys,time\nend=time.monotonic()+%d\nwhile True:\n try:\n  socket.create_connection((%r,%d),1)\n"
                "  break\n except OSError as e:\n  if time.monotonic()>end: sys.exit('%s:%d: '+str(e))\n  time.sleep(.05)"
                % (seconds, host, port, host, port))
        self.run(side, [sys.executable, "-c", code], seconds=seconds + 5)
