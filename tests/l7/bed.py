# SPDX-License-Identifier: BSD-2-Clause
"""A bed for layer 7: one network namespace with baton-l7d, nginx backends and clients on its loopback."""
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("BATON_BUILD", os.path.join(ROOT, "build"))
VIP, VIP6 = "198.51.100.80", "2001:db8:80::80"

NGINX = """daemon off; user root; worker_processes 1; pid {dir}/{name}.pid; error_log {dir}/{name}.err;
events {{ worker_connections 8192; }}
http {{
    access_log off; default_type application/octet-stream; sendfile on; keepalive_requests 1000000; keepalive_timeout 300s;
    client_body_temp_path {dir}/tmp; proxy_temp_path {dir}/tmp; fastcgi_temp_path {dir}/tmp; uwsgi_temp_path {dir}/tmp;
    scgi_temp_path {dir}/tmp; client_max_body_size 0; client_body_buffer_size 1m;
    server {{
        listen 127.0.0.1:{port} backlog=4096; root {www}; add_header X-Backend {name};
        location = /whoami {{ return 200 "{name}\\n"; }}
        location = /echo-headers {{ return 200 "$http_x_forwarded_for|$http_forwarded|$http_host|$http_x_forwarded_proto\\n"; }}
        location /put/ {{ dav_methods PUT DELETE; root {dir}/put; }}
        {more}
    }}
}}
"""


class Wrong(Exception):
    pass


class Skip(Exception):
    pass


def check(condition, text, *args):
    if not condition:
        raise Wrong(text % args if args else text)


def wait(what, probe, seconds=10):
    deadline = time.monotonic() + seconds
    while True:
        got = probe()
        if got:
            return got
        if time.monotonic() > deadline:
            raise Wrong("%s: not within %g s" % (what, seconds))
        time.sleep(0.05)


def ask_daemon(path, verb, args):
    """The daemon's answer on its control socket; None: it does not answer."""
    try:
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(5)
            s.connect(path)
            s.sendall(json.dumps(dict(args, verb=verb)).encode() + b"\n")
            answer = b""
            while not answer.endswith(b"\n"):
                more = s.recv(65536)
                if not more:
                    break
                answer += more
        return json.loads(answer)
    except (OSError, ValueError):
        return None


class Bed:
    """Children are ended by the descriptor that we hold, the namespace with them."""

    def __init__(self):
        if not os.access(os.path.join(BUILD, "baton-l7d"), os.X_OK):
            raise Skip("baton-l7d is not built in " + BUILD)
        self.dir = tempfile.mkdtemp(prefix="baton-l7-")
        self.ns = "bt-l7-%d" % os.getpid()
        self.children = {}
        self.conf = {}
        subprocess.run(["ip", "netns", "add", self.ns], check=True)
        self.run(["ip", "link", "set", "lo", "up"])
        for a in (VIP + "/32", VIP6 + "/128"):
            self.run(["ip", "address", "add", a, "dev", "lo", "nodad"], check=False)
        self.run(["sysctl", "-qw", "net.core.somaxconn=4096", "net.ipv4.ip_local_port_range=10000 65000"], check=False)
        for d in ("run", "state", "www", "tmp", "put/put", "certs"):
            os.makedirs(self.path(d), exist_ok=True)
        self.sub = lambda *a: subprocess.run([os.path.join(BUILD, "baton"), *a], check=True, stdout=subprocess.DEVNULL)
        self.sub("pki", "init", "--dir", self.path("pki"), "--pop", "demo")
        self.sub("pki", "issue", "--dir", self.path("pki"), "--role", "host", "--id", "1")

    def path(self, *names):
        return os.path.join(self.dir, *names)

    # -- commands in the namespace
    def argv(self, argv):
        return ["ip", "netns", "exec", self.ns] + [str(a) for a in argv]

    def run(self, argv, check=True, timeout=60, **kw):
        p = subprocess.run(self.argv(argv), stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout, **kw)
        if check and p.returncode:
            raise Wrong("%s: exit %d: %s%s" % (" ".join(map(str, argv)), p.returncode, p.stdout[-500:].decode(errors="replace"),
                                              p.stderr[-500:].decode(errors="replace")))
        return p.stdout

    def curl(self, *args, check=True, timeout=15):
        return self.run(["curl", "-sS", "--max-time", str(timeout)] + list(args), check=check, timeout=timeout + 5)

    def spawn(self, name, argv, **kw):
        log = open(self.path(name + ".log"), "ab")
        self.children[name] = subprocess.Popen(self.argv(argv), stdout=log, stderr=log, **kw)
        return self.children[name]

    def end(self, name, sig=signal.SIGTERM, timeout=10):
        p = self.children.pop(name)
        if p.poll() is None:
            p.send_signal(sig)
            try:
                p.wait(timeout)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()
                raise Wrong("%s did not end within %d s" % (name, timeout))
        return p.returncode

    def log(self, name):
        with open(self.path(name + ".log"), errors="replace") as f:
            return f.read()

    # -- sockets in the namespace: this process enters it for the call
    def socket(self, address=(VIP, 80), timeout=10, family=socket.AF_INET, rcvbuf=0):
        import ctypes
        libc = ctypes.CDLL(None, use_errno=True)
        with open("/run/netns/" + self.ns) as ns, open("/proc/self/ns/net") as own:
            check(libc.setns(ns.fileno(), 0x40000000) == 0, "setns")
            try:
                s = socket.socket(family, socket.SOCK_STREAM)
            finally:
                libc.setns(own.fileno(), 0x40000000)
        s.settimeout(timeout)
        if rcvbuf:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        if address:
            s.connect(address)
        return s

    def listener(self, port):
        s = self.socket(None)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("127.0.0.1", port))
        s.listen(4096)
        s.settimeout(None)
        return s

    # -- servers
    def nginx(self, name, port, more=""):
        conf = self.path(name + ".conf")
        with open(conf, "w") as f:
            f.write(NGINX.format(dir=self.dir, name=name, port=port, www=self.path("www"), more=more))
        self.spawn(name, ["nginx", "-p", self.dir, "-c", conf])
        wait("nginx " + name, lambda: self.run(["curl", "-s", "http://127.0.0.1:%d/whoami" % port], check=False).strip() == name.encode())

    def certificate(self, name, hosts):
        """A self-signed one, as NAME.pem in the edge's directory."""
        pem, key = self.path(name + ".crt"), self.path(name + ".key")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
                        "-subj", "/CN=" + hosts[0], "-addext", "subjectAltName=" + ",".join("DNS:" + h for h in hosts),
                        "-keyout", key, "-out", pem], check=True, stderr=subprocess.DEVNULL)
        with open(self.path("certs", name + ".pem.new"), "w") as out:
            for p in (pem, key):
                with open(p) as f:
                    out.write(f.read())
        os.rename(self.path("certs", name + ".pem.new"), self.path("certs", name + ".pem"))
        return pem

    def write_conf(self, edges, pools, more=None):
        """JSON is YAML."""
        pop = {
            "pop": {"name": "demo", "buckets": 256, "hash_seed": 1},
            "controllers": [{"name": "c1", "id": 1, "listen": "192.0.2.10:7430"}],
            "switches": [{"name": "s1", "id": 1, "management": "192.0.2.21", "bridge": "hosts", "uplinks": ["up0"], "ports": {"p1": "h1"}}],
            "hosts": [{"name": "h1", "id": 1, "management": "127.0.0.1", "links": {"s1": "eth0"}}],
            "vips": [{"name": "www", "addresses": [VIP, VIP6], "ports": sorted({"%d/tcp" % e["port"] for e in edges})}],
            "edges": edges, "pools": pools,
        }
        pop.update(more or {})
        with open(self.path("pop.yaml.new"), "w") as f:
            f.write(json.dumps(pop, indent=1))
        os.rename(self.path("pop.yaml.new"), self.path("pop.yaml"))

    def l7d(self, edges, pools, more=None, workers=2, args=(), env=None):
        self.write_conf(edges, pools, more)
        self.spawn("l7d", [os.path.join(BUILD, "baton-l7d"), "--standalone", "--workers", workers, "--config", self.path("pop.yaml"),
                           "--tls", self.path("pki", "host-1"), "--run", self.path("run"), "--state", self.path("state"),
                           "--metrics", "127.0.0.1:9746", *args],
                   env=dict(os.environ, ASAN_OPTIONS="detect_leaks=1:abort_on_error=0", **(env or {})))
        wait("baton-l7d", lambda: self.ask("status") and self.children["l7d"].poll() is None)
        wait("listeners", lambda: self.listens(edges[0]["port"]))

    def listens(self, port):
        out = self.run(["ss", "-Hltn", "sport", "= %d" % port]).decode()
        return VIP in out

    def reload(self):
        before = self.ask("status")["index"]
        self.children["l7d"].send_signal(signal.SIGHUP)
        wait("reload", lambda: (self.ask("status") or {}).get("index", 0) > before)

    def ask(self, verb, **args):
        return ask_daemon(self.path("run", "l7d.sock"), verb, args)

    def metric(self, name, **labels):
        text = self.run(["curl", "-s", "http://127.0.0.1:9746/metrics"]).decode()
        total = 0.0
        for line in text.splitlines():
            head, _, value = line.rpartition(" ")
            if head.split("{")[0] == name and all('%s="%s"' % kv in head for kv in labels.items()):
                total += float(value)
        return total

    def memory(self):
        with open("/proc/%d/status" % self.children["l7d"].pid) as f:
            return int(next(l for l in f if l.startswith("VmRSS")).split()[1]) * 1024

    def close(self):
        problems = []
        for name in sorted(self.children, key=lambda n: n != "l7d"):
            try:
                code = self.end(name)
                if name == "l7d" and code:
                    problems.append("baton-l7d ended with %d: %s" % (code, self.log("l7d")[-3000:]))
            except Wrong as e:
                problems.append(str(e))
        if "ERROR: AddressSanitizer" in (self.log("l7d") if os.path.exists(self.path("l7d.log")) else ""):
            problems.append(self.log("l7d")[-3000:])
        subprocess.run(["ip", "netns", "del", self.ns])
        if not os.environ.get("BATON_KEEP"):
            shutil.rmtree(self.dir, ignore_errors=True)
        return problems


def run_tests(tests, bed, setup):
    """Every test that the command line names, or all, on one bed; TAP out."""
    only, failed = sys.argv[1:], 0
    try:
        setup(bed)
        for t in tests:
            if only and t.__name__ not in only:
                continue
            try:
                t(bed)
                print("ok - " + t.__name__, flush=True)
            except Skip as e:
                print("skip %s: %s" % (t.__name__, e), flush=True)
            except Exception as e:
                failed += 1
                print("# %s: %s" % (type(e).__name__, str(e).replace("\n", "\n# ")))
                print("not ok - " + t.__name__, flush=True)
                if not isinstance(e, (Wrong, OSError, AssertionError)):
                    import traceback
                    traceback.print_exc()
    finally:
        for p in bed.close():
            failed += 1
            print("# " + p.replace("\n", "\n# "))
            print("not ok - end")
    return 1 if failed else 0


def main(tests, setup):
    if os.geteuid():
        print("skip all: needs root")
        return 0
    try:
        bed = Bed()
    except Skip as e:
        print("skip all: %s" % e)
        return 0
    return run_tests(tests, bed, setup)
