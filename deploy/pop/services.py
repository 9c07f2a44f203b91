# SPDX-License-Identifier: BSD-2-Clause
"""What runs in the nodes of a POP: routing daemons, nginx, and Baton's own (with front ends or without)."""
import json
import os
import shutil
import signal
import socket
import time

import routing
from machine import Failed, end, run
from plan import VIP4, VIP6, WEB_PORT

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FRAGMENT = os.path.join(ROOT, "deploy", "bird", "baton.conf")
SYSTEMD = os.path.join(ROOT, "deploy", "systemd")
FRR = "/usr/lib/frr"
FIRST = ["nice", "-n", "-15"]  # routing daemons come first: their BFD sessions must not starve under the load
POP_NAME = "demo"
PATTERN_BYTES = 1 << 20
PATIENCE = float(os.environ.get("BATON_PATIENCE", "1"))  # so many times slower is the machine (an emulated one) than it should be

NGINX = """# Debian's nginx for one host of the demo POP.
daemon off; user www-data; worker_processes 1; pid {dir}/nginx.pid; error_log {dir}/nginx.error.log;
events {{ worker_connections 4096; }}
http {{
    access_log off; default_type application/octet-stream; sendfile on; server_tokens off;
    keepalive_timeout 300s; keepalive_requests 1000000; send_timeout 60s; reset_timedout_connection off;
    client_body_temp_path {dir}/tmp; proxy_temp_path {dir}/tmp; fastcgi_temp_path {dir}/tmp;
    uwsgi_temp_path {dir}/tmp; scgi_temp_path {dir}/tmp;
    server {{
        {listen}
        root {www};
        add_header X-Host {host};
        location = /health {{ alias {dir}/health; }}  # a file, so that a test can make the service sick
        location = /whoami {{ return 200 "{host}\\n"; }}
        rewrite ^/o/[0-9]+(/.*)$ $1 last;  # many objects, all with the same bytes
        location = /pattern {{ limit_rate $arg_rate; }}
    }}
}}
"""


def splitmix64(x):
    x = (x + 0x9E3779B97F4A7C15) & (2**64 - 1)
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & (2**64 - 1)
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & (2**64 - 1)
    return x ^ (x >> 31)


def pattern(size):
    """Bytes that follow from their offset alone; tests/load knows the same rule."""
    return b"".join(splitmix64(i).to_bytes(8, "little") for i in range(size // 8))


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb" if isinstance(text, bytes) else "w") as f:
        f.write(text)


def wait_for(what, probe, seconds):
    """Polls until probe() gives None; else fails with what it last missed."""
    seconds *= PATIENCE
    deadline = time.monotonic() + seconds
    while (missing := probe()) is not None:
        if time.monotonic() > deadline:
            raise Failed("%s: not within %d s: %s" % (what, seconds, missing))
        time.sleep(0.1)


def control(path, request, timeout=5):
    """One call on a daemon's control socket (docs/formats.md); the answer, or None when nobody answers."""
    try:
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(timeout)
            s.connect(path)
            s.sendall(json.dumps(request).encode() + b"\n")
            answer = b""
            while not answer.endswith(b"\n"):
                more = s.recv(65536)
                if not more:
                    break
                answer += more
        return json.loads(answer)
    except (OSError, ValueError):
        return None


class Services:
    def __init__(self, machine, plan, build):
        self.m, self.plan, self.build = machine, plan, os.path.abspath(build)

    # -- web servers ------------------------------------------------------------------------------------
    def prepare_nginx(self):
        www = self.m.path("www")
        write(www + "/pattern", pattern(PATTERN_BYTES))
        write(www + "/short", pattern(1024))
        for h in self.plan.hosts:
            os.makedirs(self.m.path(h, "tmp"), exist_ok=True)
            write(self.m.path(h, "health"), "ok\n")
            write(self.m.path(h, "nginx.conf"), NGINX.format(dir=self.m.path(h), www=www, host=h, listen=self.nginx_listens(h)))

    def nginx_listens(self, host):
        if self.plan.front_ends:
            return "listen %s:%d backlog=4096;" % (self.plan.management(host), WEB_PORT)
        return "listen 80 backlog=4096; listen [::]:80 ipv6only=on backlog=4096;"

    def start_nginx(self, host):
        return self.m.spawn(host, "nginx", ["nginx", "-p", self.m.path(host), "-c", self.m.path(host, "nginx.conf")])

    def nginx_answers(self, host):
        at = "%s:%d" % (self.plan.management(host), WEB_PORT) if self.plan.front_ends else "127.0.0.1"
        out = self.m.run(host, ["curl", "-s", "-m", "1", "http://%s/whoami" % at], check=False)
        return None if out.strip() == host else "nginx of %s says %r" % (host, out)

    def restart(self, host):
        """A real end and a real start of what serves on a host: what an operator does between drain and fill."""
        if self.plan.front_ends:
            self.m.end(host, "baton-l7d")
        self.m.end(host, "nginx")
        self.start_nginx(host)
        wait_for("restart of nginx on " + host, lambda: self.nginx_answers(host), 5)
        if self.plan.front_ends:
            self.start_front_end(host)
            wait_for("restart of baton-l7d on " + host, lambda: self.front_end_answers(host), 5)

    # -- front ends -------------------------------------------------------------------------------------
    def prepare_certificate(self):
        """One for www.example, which every front end has, signed by itself: clients that verify trust this very one."""
        d = self.m.path("certs")
        os.makedirs(d, exist_ok=True)
        run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
             "-subj", "/CN=www.example", "-addext", "subjectAltName=DNS:www.example", "-keyout", d + "/www.key", "-out", d + "/www.crt"])
        with open(d + "/www.crt") as crt, open(d + "/www.key") as key:
            write(d + "/edge/www.pem", crt.read() + key.read())
        os.chmod(d + "/edge/www.pem", 0o600)

    def start_front_end(self, host):
        os.makedirs(self.m.path(host, "edge"), mode=0o700, exist_ok=True)
        return self.m.spawn(host, "baton-l7d", self.limits("baton-l7d") + [
            self.program("baton-l7d"), "--config", self.m.path("pop.yaml"), "--tls", self.m.path(host, "tls-edge"),
            "--run", self.m.path(host, "run"), "--state", self.m.path(host, "edge"), "--metrics", "127.0.0.1:9746"])

    def front_end_answers(self, host):
        out = self.m.run(host, ["curl", "-s", "-m", "1", "http://%s/whoami" % VIP4], check=False)
        return None if out.strip() in self.plan.hosts else "baton-l7d of %s says %r" % (host, out)

    # -- routing ----------------------------------------------------------------------------------------
    def bird_socket(self, node):
        return self.m.path(node, "bird.ctl")

    def start_bird(self, node):
        if node in self.plan.switches:
            text = routing.bird_switch(self.plan, node, FRAGMENT)
        else:
            text = routing.bird_upstream(self.plan, node)
        write(self.m.path(node, "bird.conf"), text)
        return self.m.spawn(node, "bird", FIRST + ["bird", "-f", "-c", self.m.path(node, "bird.conf"), "-s", self.bird_socket(node),
                                           "-P", self.m.path(node, "bird.pid")])

    def start_frr(self, node):
        d = self.m.path(node, "frr")
        os.makedirs(d, exist_ok=True)
        run(["chown", "-R", "frr:frr", d])
        conf = routing.frr_upstream(self.plan, node)
        for daemon, extra in (("zebra", []), ("staticd", []), ("bfdd", ["--bfdctl", d + "/bfdd.sock"]), ("bgpd", [])):
            path = "%s/%s.conf" % (d, daemon)
            write(path, conf[daemon])
            self.m.spawn(node, daemon, FIRST + [os.path.join(FRR, daemon), "-f", path, "-i", "%s/%s.pid" % (d, daemon),
                                        "-z", d + "/zserv.api", "--vty_socket", d, "-P", "0", "-A", "127.0.0.1"] + extra)
            if daemon == "zebra":
                wait_for("zebra of " + node, lambda: None if os.path.exists(d + "/zserv.api") else "no socket", 10)

    def start_routing(self):
        for node in self.plan.switches:
            self.start_bird(node)
        for node in self.plan.upstreams:
            (self.start_bird if self.plan.router[node] == "bird" else self.start_frr)(node)

    # -- Baton ------------------------------------------------------------------------------------------
    def program(self, name):
        path = os.path.join(self.build, name)
        if not os.access(path, os.X_OK):
            raise Failed("%s is not built: run `make` first" % path)
        return path

    def configure(self, policy=None, interval="500ms"):
        interval, timeout = ("%dms" % (PATIENCE * int(t[:-2])) for t in (interval, "400ms"))
        write(self.m.path("pop.yaml"), self.plan.pop_yaml(POP_NAME, self.bird_socket, policy, interval, timeout, self.m.path("certs", "edge")))
        if self.plan.front_ends:
            self.prepare_certificate()
        baton = self.program("baton")
        pki = self.m.path("pki")
        run([baton, "pki", "init", "--dir", pki, "--pop", POP_NAME])
        roles = {"c": "controller", "s": "switch", "h": "host"}
        for node in self.plan.managed:
            run([baton, "pki", "issue", "--dir", pki, "--role", roles[node[0]], "--id", node[1:]])
            os.symlink("%s/%s-%s" % (pki, roles[node[0]], node[1:]), self.m.path(node, "tls"))
        for h in self.plan.hosts if self.plan.front_ends else ():
            run([baton, "pki", "issue", "--dir", pki, "--role", "edge", "--id", h[1:]])
            os.symlink("%s/edge-%s" % (pki, h[1:]), self.m.path(h, "tls-edge"))

    def limits(self, name):
        """What runs a daemon within the capabilities that its systemd unit leaves it: what the POP can do, the unit can."""
        with open(os.path.join(SYSTEMD, name + ".service")) as unit:
            lines = [line.partition("=")[2].split() for line in unit if line.startswith("CapabilityBoundingSet=")]
        bounding = ["-all"] + ["+" + c.lower().removeprefix("cap_") for words in lines for c in words]
        return ["setpriv", "--bounding-set=" + ",".join(bounding), "--inh-caps=-all", "--no-new-privs"]

    def start_daemon(self, node, wrap=()):
        name = {"c": "baton-controld", "s": "baton-switchd", "h": "baton-agentd"}[node[0]]
        for d in ("run", "state"):
            os.makedirs(self.m.path(node, d), mode=0o700, exist_ok=True)
        return self.m.spawn(node, name, list(wrap) + self.limits(name) + [
            self.program(name), "--config", self.m.path("pop.yaml"), "--tls", self.m.path(node, "tls"),
            "--run", self.m.path(node, "run"), "--state", self.m.path(node, "state"), "--metrics", "127.0.0.1:9464"],
            env={"BATON_PACED_KNOBS": self.m.path(node, "knobs")})

    def daemon_name(self, node):
        return {"c": "baton-controld", "s": "baton-switchd", "h": "baton-agentd"}[node[0]]

    def controller(self, **request):
        return control(self.m.path("c1", "run", "controld.sock"), request)

    def missing(self):
        """What the POP still lacks, in words; None when every host is up and every switch announces."""
        out = []
        hosts = self.controller(verb="show", what="hosts")
        switches = self.controller(verb="show", what="switches")
        vips = self.controller(verb="show", what="vips")
        status = self.controller(verb="status")
        if not (hosts and switches and vips and status and hosts.get("ok") and switches.get("ok")):
            return "baton-controld does not answer (see %s)" % self.m.path("c1", "baton-controld.log")
        for h in hosts["hosts"]:
            if h["health"] != "up" or h["admin"] != "in" or not h["owned"]:
                out.append("host %s: %s, %s, owns %d buckets, %s" % (h["name"], h["health"], h["admin"], h["owned"], h["why"]))
        for s in switches["switches"]:
            if not s["announcing"]:
                out.append("switch %s does not announce (%s)" % (s["name"], s["buckets_why"] or s["alarms"] or s["failed"]))
            elif s["lag"]:
                out.append("switch %s lags" % s["name"])
        if not status["table"]["settled"]:
            out.append("the table is not settled")
        return "; ".join(out) or self.upstream_missing()

    def upstream_missing(self, switches=None):
        want = len(self.plan.switches if switches is None else switches)
        for u in self.plan.upstreams:
            for family, vip in (("-4", VIP4), ("-6", VIP6)):
                # iproute2 prints one "via" per next hop, for IPv6 also in several lines
                text = self.m.run(u, ["ip", family, "route", "show", vip], check=False)
                if text.count("via ") != want:
                    return "%s has %d of %d routes to %s: %s" % (u, text.count("via "), want, vip, " ".join(text.split()))
        return None

    def curl(self, vip=VIP4, path="/whoami", seconds=2):
        host = "[%s]" % vip if ":" in vip else vip
        return self.m.run("client", ["curl", "-s", "-m", str(seconds), "http://%s%s" % (host, path)], check=False).strip()

    def answers(self):
        for vip in (VIP4, VIP6):
            if self.curl(vip) not in self.plan.hosts:
                return "no answer from %s to the client" % vip
        return None

    # -- all of it --------------------------------------------------------------------------------------
    def up(self, policy=None, interval="500ms", daemons=True, say=lambda text: None):
        say("web servers and routers")
        self.prepare_nginx()
        for h in self.plan.hosts:
            self.start_nginx(h)
        self.start_routing()
        if not daemons:
            return
        say("certificates and Baton's daemons")
        self.configure(policy, interval)
        for node in self.plan.managed:
            self.start_daemon(node)
        for h in self.plan.hosts if self.plan.front_ends else ():
            self.start_front_end(h)
        say("waiting until all hosts are up and all switches announce")
        wait_for("the POP", self.missing, 40)
        wait_for("the client", self.answers, 10)
