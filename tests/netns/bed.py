# SPDX-License-Identifier: BSD-2-Clause
"""What a namespace test works with: a POP (deploy/pop), load on it, the operator's command, and waits that say what they miss."""
import contextlib
import glob
import json
import os
import shutil
import signal
import subprocess
import threading
import time

import machine as machines
from machine import Failed, Machine, run
from plan import LOAD4, LOAD6, VIP4, VIP6, Plan
from services import PATIENCE, ROOT, Services, control

BUILD = os.environ.get("BATON_BUILD", os.path.join(ROOT, "build"))
DATAPATH = os.environ.get("BATON_DATAPATH")  # ebpf or module: of every host; unset: theirs is the choice


RATE_SECONDS = 3

class Skip(Exception):
    pass


class Wrong(Exception):
    """The POP did what it must not, or did not what it must."""


def options(**kw):
    """What POP a test needs: hosts, switches, upstreams, one_armed, policy, interval, front_ends, handoff."""
    def mark(test):
        test.options = kw
        return test
    return mark


def check(condition, text, *args):
    if not condition:
        raise Wrong(text % args if args else text)


def wait(what, probe, seconds=15, every=0.1):
    """Until probe() is true; returns what it returned."""
    seconds *= PATIENCE
    deadline = time.monotonic() + seconds
    while True:
        got = probe()
        if got:
            return got
        if time.monotonic() > deadline:
            raise Wrong("%s: not within %g s" % (what, seconds))
        time.sleep(every)


class Load:
    """Load in the client's namespace, and the tap on its wires.  Counters are read from the last line written."""

    def __init__(self, bed, long, rate, seed, timeout_ms):
        self.bed, self.children, self.rate, self.stopped, self.at_start = bed, {}, rate, False, {}
        addresses = ["--vip", VIP4, "--vip", VIP6]
        for a in LOAD4[:4] + LOAD6[:4]:
            addresses += ["--source", a]
        where = lambda name: bed.machine.path("client", name)
        program = lambda name: os.path.join(BUILD, "tests", "load", name)
        self.start("wiretap", [program("wiretap")] + addresses + ["--log", where("resets"), "--every", "100"] +
                   [l.ifname("client") for l in bed.plan.client_links])
        more = ["--every", "100", "--seed", str(seed), "--timeout", str(timeout_ms)]
        if bed.plan.handoff:
            more += ["--objects", "100"]
        if bed.plan.front_ends:
            more += ["--tls-share", "25", "--ca", bed.machine.path("certs", "www.crt")]
        if rate:
            self.start("short", [program("load"), "short"] + addresses + more + ["--rate", str(rate), "--kept", "5", "--faults", where("short.faults")])
        if long:
            self.start("long", [program("load"), "long"] + addresses + more + ["--concurrent", str(long), "--faults", where("long.faults")])
        self.long = long
        wait("load", lambda: self.spoken() and (self.now("long")["open"] >= long * 0.9 if long else self.now("short")["ok"] > 20), 10)
        self.begun, self.at_start = time.monotonic(), {name: self.now(name) for name in self.children}

    def start(self, name, argv):
        self.children[name] = self.bed.machine.spawn("client", name + ".out", argv)

    def counts(self, name):
        """The latest line of counters, or None: it has written none."""
        try:
            with open(self.bed.machine.path("client", name + ".out.log")) as f:
                lines = f.read().splitlines()
        except OSError:
            lines = []
        for line in reversed(lines):
            try:
                return json.loads(line)
            except ValueError:
                pass
        return None

    def spoken(self):
        for name, child in self.children.items():
            check(child.alive(), "the witness %s died at once: %s", name, self.bed.log_of("client", name + ".out").strip()[-200:])
        return all(self.counts(name) for name in self.children)

    def now(self, name):
        """The counters as they are (of the last 100 ms).  A witness that is dead or never spoke has none: that is a failure, not a 0."""
        child = self.children.get(name)
        check(child, "there is no %s in this test", name)
        counts = self.counts(name)
        check(counts, "the witness %s has written nothing", name)
        check(self.stopped or child.alive(), "the witness %s died: %s", name, counts)
        return counts

    def faults(self):
        out = []
        for name in ("short", "long"):
            path = self.bed.machine.path("client", name + ".faults")
            if os.path.exists(path):
                with open(path) as f:
                    out += [dict(load=name, fault=w[1], flow=w[2], **dict(p.split("=") for p in w[3:]), at_ms=int(w[0]))
                            for w in (line.split() for line in f) if len(w) > 3]
        return out

    def stop(self):
        """Ends wiretap before the load: what is cut by ending is not counted.  Each must have lived until now, and say its last."""
        if self.stopped:
            return self
        for name in self.children:
            self.now(name)
        self.seconds, self.stopped = time.monotonic() - self.begun, True
        for name in ("wiretap", "short", "long"):
            if name in self.children:
                machines.end([self.children[name]])
                check(self.now(name).get("last") is True, "the witness %s did not close with its last count: %s", name, self.now(name))
        return self

    def went_on(self):
        """Requests were answered all the while: the short ones as their rate says, of the long ones one a second for each two."""
        if not self.stopped:  # over a moment a rate says nothing
            time.sleep(max(0, RATE_SECONDS - (time.monotonic() - self.begun)))
        self.stop()
        for name, due in (("short", 0.8 * self.rate * self.seconds), ("long", 0.5 * self.long * self.seconds)):
            if name in self.children:
                ok = self.now(name)["ok"] - self.at_start[name]["ok"]
                check(ok >= due, "%s: %d answers in %.1f s, %d were due at least: too little load to prove anything", name, ok,
                      self.seconds, due)

    def unbroken(self):
        """Nothing failed, nothing broke, no reset was seen, and there was load all the while."""
        self.went_on()
        f = self.faults()
        check(not f, "%d faults (%s), the first: %s", len(f), {n: self.now(n)["causes"] for n in self.children if n != "wiretap"}, f[0] if f else "")
        for name in ("short", "long"):
            if name in self.children:
                n = self.now(name)
                check(not n["failed"], "%s: %s", name, n)
        resets = self.now("wiretap")["resets"]
        check(not resets, "%d resets of load flows on the wire", resets)


class Bed:
    def __init__(self, prefix, name):
        self.prefix, self.name = prefix, name
        self.machine = Machine("/run/baton-pop/" + prefix)
        self.loads = []

    def up(self, hosts=4, switches=("xdp", "netlink"), upstreams=("bird", "frr"), one_armed=None, policy=None,
           interval="500ms", bare=False, front_ends=False, handoff=False):
        for program in () if bare else ("baton", "baton-controld", "baton-switchd", "baton-agentd") + ("baton-l7d",) * front_ends:
            if not os.access(os.path.join(BUILD, program), os.X_OK):
                raise Skip("%s is not built in %s" % (program, BUILD))
        facts = {"prefix": self.prefix, "hosts": hosts, "switches": list(switches), "upstreams": list(upstreams),
                 "one_armed": one_armed or {}, "front_ends": front_ends, "handoff": handoff, "datapath": DATAPATH, "build": BUILD}
        self.plan = Plan(self.prefix, hosts, switches, upstreams, one_armed or {}, front_ends, DATAPATH, handoff)
        self.machine.create(facts)
        import network
        import sysctls
        network.create(self.machine, self.plan, sysctls.files())
        self.services = Services(self.machine, self.plan, BUILD)
        self.services.up(policy=policy, interval=interval, daemons=not bare)
        for h in self.plan.hosts if DATAPATH and not bare else ():
            check(self.host(h).get("datapath") == DATAPATH, "the data path of %s is %s, not %s", h, self.host(h).get("datapath"), DATAPATH)

    def down(self):
        return self.machine.destroy() if self.machine.exists() else []

    def keep_logs(self, target):
        shutil.rmtree(target, ignore_errors=True)
        os.makedirs(target, exist_ok=True)
        for pattern in ("*/*.log", "*/*.faults", "client/resets", "pop.yaml"):
            for path in glob.glob(os.path.join(self.machine.dir, pattern)):
                if os.path.getsize(path):
                    shutil.copy(path, os.path.join(target, os.path.relpath(path, self.machine.dir).replace("/", "-")))
        print("# logs: %s" % target)

    # -- the operator ---------------------------------------------------------------------------------------
    def baton(self, *words, expect=0, timeout=60):
        """`baton VERB ...` beside the controller.  Returns its output; expect: exit status, or None for any."""
        argv = [os.path.join(BUILD, "baton"), words[0], "--run", self.machine.path("c1", "run")] + list(words[1:])
        r = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout * PATIENCE)
        if expect is not None:
            check(r.returncode == expect, "baton %s: exit %d, not %d: %s", " ".join(words), r.returncode, expect, r.stdout.strip()[-600:])
        self.exit = r.returncode
        return r.stdout

    def ask(self, **request):
        return self.services.controller(**request) or {}

    def show(self, what, name):
        for o in self.ask(verb="show", what=what).get(what, []):
            if o["name"] == name:
                return o
        return None

    def host(self, name):
        return self.show("hosts", name) or {"health": "?", "admin": "?", "owned": -1, "sheltered": -1, "connected": False}

    def switch(self, name):
        return self.show("switches", name) or {"announcing": False, "admin": "?", "connected": False, "lag": -1, "acked": -1, "failed": None}

    def drain(self, name, kind="host", **more):
        """The verb alone: returns the controller's answer."""
        return self.ask(verb="drain", kind=kind, name=name, reason="test", **more)

    def fill(self, name, kind="host", **more):
        return self.ask(verb="fill", kind=kind, name=name, reason="test", **more)

    def safe(self, name, kind="host"):
        return self.ask(verb="drain_status", kind=kind, name=name).get("safe", False)

    def drained(self, name, kind="host", seconds=40):
        try:
            return wait("drain of %s %s" % (kind, name), lambda: self.safe(name, kind), seconds)
        except Wrong as e:
            raise Wrong("%s; %s" % (e, self.ask(verb="drain_status", kind=kind, name=name)))

    def settled(self, seconds=15):
        wait("the table to settle", lambda: self.ask(verb="status").get("table", {}).get("settled"), seconds)

    def healthy(self, seconds=30):
        from services import wait_for
        wait_for("the POP", self.services.missing, seconds)

    @contextlib.contextmanager
    def flapping(self, period=0.15):
        """Meanwhile each upstream sends all flows now to one switch, now to another, against each other's beat."""
        stop = threading.Event()
        # In a table of its own: FRR would take its own route away for a kernel route in the main table, and be late to put it back.
        for u in self.plan.upstreams:
            for family in ("-4", "-6"):
                self.run(u, "ip", family, "rule", "add", "pref", "100", "lookup", "99")

        def flap():
            turn = 0
            while not stop.wait(period):
                turn += 1
                for i, u in enumerate(self.plan.upstreams):
                    links = self.plan.links_of(u, self.plan.uplinks)
                    v4, v6 = links[(turn + i) % len(links)].address(links[(turn + i) % len(links)].b)
                    self.machine.run(u, ["ip", "-batch", "-"], check=False, text="route replace %s via %s table 99\n"
                                     "route replace %s via %s table 99\n" % (VIP4, v4, VIP6, v6))
            for u in self.plan.upstreams:
                for family in ("-4", "-6"):
                    self.run(u, "ip", family, "rule", "del", "pref", "100")
                    self.run(u, "ip", family, "route", "flush", "table", "99", check=False)

        thread = threading.Thread(target=flap)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def detours(self, on):
        for h in self.plan.hosts:
            answer = control(self.machine.path(h, "run", "agentd.sock"), {"verb": "detours", "on": on})
            check(answer and answer.get("ok"), "detours of %s: %s", h, answer)

    def sick(self, host, sick=True):
        """The host's service fails its check; what it serves it goes on serving."""
        path = self.machine.path(host, "health")
        if sick:
            os.unlink(path)
        else:
            with open(path, "w") as f:
                f.write("ok\n")

    # -- the machines ---------------------------------------------------------------------------------------
    def load(self, long=60, rate=50, seed=1, timeout_ms=5000):
        load = Load(self, int(long / PATIENCE), int(rate / PATIENCE), seed, int(timeout_ms * PATIENCE))
        self.loads.append(load)
        return load

    def run(self, node, *argv, check=True, timeout=30):
        return self.machine.run(node, list(argv), check=check, timeout=timeout)

    def kill(self, node, name=None):
        """kill -9 of a daemon (Baton's, unless named)."""
        self.machine.end(node, name or self.services.daemon_name(node), signal.SIGKILL)

    def start(self, node):
        return self.services.start_daemon(node)

    def link(self, node, ifname, up):
        self.run(node, "ip", "link", "set", ifname, "up" if up else "down")

    def power_off(self, node):
        """As if the plug were pulled: every process killed, every link without carrier, kernel state kept out of play."""
        for p in self.machine.processes(node):
            p.signal(signal.SIGKILL)
        for l in self.plan.links_of(node, self.plan.client_links + self.plan.host_links + self.plan.uplinks + self.plan.peer_links):
            self.link(node, l.ifname(node), False)
        if node in self.plan.managed:
            self.link(node, "mgmt", False)

    def log_of(self, node, name=None):
        with open(self.machine.path(node, (name or self.services.daemon_name(node)) + ".log"), errors="replace") as f:
            return f.read()
