# SPDX-License-Identifier: BSD-2-Clause
"""Namespaces and processes, recorded as they come to be, so that all of them can be taken away again.

The record is a JSON file beside the POP's directory.  It is written before anything is made, so that
`down` finds what a killed `up` has left.  A process is known by pid *and* start time: no pid that the
kernel has given to somebody else is ever signalled.
"""
import json
import os
import signal
import subprocess
import time

NETNS = "/run/netns"


class Failed(Exception):
    """What went wrong, for the operator; no traceback."""


def run(argv, check=True, text=None, timeout=30):
    r = subprocess.run(argv, input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout)
    if check and r.returncode:
        raise Failed("%s: exit %d\n%s" % (" ".join(argv), r.returncode, r.stdout.strip()))
    return r.stdout


def start_time(pid):
    """The kernel's start tick of a live process; None when there is none (a zombie counts as none)."""
    try:
        with open("/proc/%d/stat" % pid) as f:
            fields = f.read().rsplit(")", 1)[1].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


class Process:
    def __init__(self, node, name, pid, started):
        self.node, self.name, self.pid, self.started = node, name, pid, started

    def alive(self):
        return self.started is not None and start_time(self.pid) == self.started

    def signal(self, number):
        if self.alive():
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                pass


def reap():
    """Collects children of ours that have ended; others' are init's."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def end(processes, grace=3.0):
    """SIGTERM, a bounded wait, SIGKILL."""
    for p in processes:
        p.signal(signal.SIGTERM)
        p.signal(signal.SIGCONT)
    deadline = time.monotonic() + grace
    while any(p.alive() for p in processes) and time.monotonic() < deadline:
        time.sleep(0.02)
        reap()
    for p in processes:
        p.signal(signal.SIGKILL)
    deadline = time.monotonic() + 3
    while any(p.alive() for p in processes) and time.monotonic() < deadline:
        time.sleep(0.02)
        reap()


class Machine:
    def __init__(self, directory):
        self.dir = os.path.abspath(directory)
        self.record_path = self.dir + ".json"
        self.record = {"netns": [], "process": [], "facts": {}}
        if os.path.exists(self.record_path):
            with open(self.record_path) as f:
                self.record = json.load(f)

    def exists(self):
        return os.path.exists(self.record_path)

    def save(self):
        tmp = self.record_path + ".tmp"
        with open(tmp, "w") as f:
            json.dump(self.record, f, indent=1)
        os.rename(tmp, self.record_path)

    def create(self, facts):
        os.makedirs(os.path.dirname(self.dir), exist_ok=True)
        if self.exists():
            raise Failed("%s exists: a POP is up there; `pop down` first" % self.record_path)
        self.record = {"netns": [], "process": [], "facts": facts}
        self.save()
        os.makedirs(self.dir, exist_ok=True)
        # A mount of its own: private, so that it may hold mount namespaces; gone as a whole.
        run(["mount", "-t", "tmpfs", "-o", "mode=755,size=256m", "baton-pop", self.dir])
        run(["mount", "--make-private", self.dir])

    def path(self, node, *more):
        return os.path.join(self.dir, node, *more)

    def add_netns(self, node, name):
        if os.path.exists(os.path.join(NETNS, name)):
            raise Failed("network namespace %s exists and is not ours; choose another --prefix" % name)
        self.record["netns"].append([node, name])
        self.save()
        run(["ip", "netns", "add", name])
        # A mount namespace beside it: /sys of this network namespace and a BPF file system of its own,
        # as a machine would have.  It is kept by a file, so pins outlive the daemon that made them.
        os.makedirs(self.path(node), exist_ok=True)
        holder = self.path(node, "mnt")
        open(holder, "w").close()
        run(["nsenter", "--net=%s/%s" % (NETNS, name), "unshare", "--mount=" + holder, "--propagation", "private",
             "sh", "-c", "mount -t sysfs sysfs /sys && mount -t bpf -o mode=700 bpf /sys/fs/bpf"])

    def netns(self, node):
        for n, name in self.record["netns"]:
            if n == node:
                return name
        raise Failed("no node %r; there are: %s" % (node, " ".join(n for n, _ in self.record["netns"])))

    def enter(self, node, argv):
        """The command line that runs argv in a node."""
        return ["nsenter", "--net=%s/%s" % (NETNS, self.netns(node)), "--mount=" + self.path(node, "mnt"), "--"] + argv

    def run(self, node, argv, **kw):
        return run(self.enter(node, argv), **kw)

    def spawn(self, node, name, argv, env=None):
        """Starts a program of a node; its output goes to NODE/NAME.log."""
        with open(self.path(node, name + ".log"), "ab") as log:
            p = subprocess.Popen(self.enter(node, argv), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                 start_new_session=True, env=dict(os.environ, **(env or {})))
        started = start_time(p.pid)
        self.record["process"].append([node, name, p.pid, started])
        self.save()
        return Process(node, name, p.pid, started)

    def processes(self, node=None, name=None):
        return [p for p in (Process(*row) for row in self.record["process"])
                if (node is None or p.node == node) and (name is None or p.name == name)]

    def end(self, node, name, number=signal.SIGTERM):
        """Ends a program of a node; with SIGKILL: at once, as a crash would."""
        found = self.processes(node, name)
        if number == signal.SIGKILL:
            for p in found:
                p.signal(number)
        end(found)
        self.record["process"] = [r for r in self.record["process"] if not (r[0] == node and r[1] == name)]
        self.save()

    def strays(self):
        """Whatever else runs in our namespaces: children of daemons, an explorer's shell."""
        found = []
        for node, name in self.record["netns"]:
            if os.path.exists(os.path.join(NETNS, name)):
                for pid in run(["ip", "netns", "pids", name], check=False).split():
                    if pid.isdigit() and int(pid) != os.getpid():
                        found.append(Process(node, "stray", int(pid), start_time(int(pid))))
        return found

    def destroy(self):
        """Takes everything away, in whatever state it is.  Returns what could not be removed."""
        end(list(reversed(self.processes())))
        end(self.strays(), grace=0.5)
        left = []
        for node, name in self.record["netns"]:
            holder = self.path(node, "mnt")
            if os.path.ismount(holder):
                run(["umount", "-l", holder], check=False)
            if os.path.exists(os.path.join(NETNS, name)):
                out = run(["ip", "netns", "delete", name], check=False)
                if os.path.exists(os.path.join(NETNS, name)):
                    left.append("namespace %s: %s" % (name, out.strip()))
        for _ in range(3):
            if os.path.ismount(self.dir):
                run(["umount", "-l", self.dir], check=False)
        if os.path.isdir(self.dir):
            try:
                os.rmdir(self.dir)
            except OSError as e:
                left.append(str(e))
        left += ["process %d (%s on %s)" % (p.pid, p.name, p.node) for p in self.processes() if p.alive()]
        if not left:
            os.unlink(self.record_path)
            try:
                os.rmdir(os.path.dirname(self.dir))
            except OSError:
                pass  # other POPs live there
        return left
