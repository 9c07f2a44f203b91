# SPDX-License-Identifier: BSD-2-Clause
"""Certificates of clients, for tests: authorities of their own, whom they vouch for, until when, and whom no longer."""
import base64
import os
import ssl
import subprocess
import time

CONF = """
[ca]
default_ca = own
[own]
database = {dir}/{name}.index
serial = {dir}/{name}.serial
new_certs_dir = {dir}
certificate = {dir}/{name}.crt
private_key = {dir}/{name}.key
default_md = sha256
default_days = 30
default_crl_days = 30
policy = any
copy_extensions = none
unique_subject = no
[any]
organizationName = optional
commonName = supplied
[client]
basicConstraints = critical,CA:FALSE
extendedKeyUsage = clientAuth
[ca_cert]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
"""


def openssl(*args):
    p = subprocess.run(["openssl", *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if p.returncode:
        raise AssertionError("openssl %s: %s" % (" ".join(args), p.stdout.decode(errors="replace")))


def day(seconds):
    return time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + seconds))


class Authority:
    """NAME.crt and NAME.key in a directory: its own root, or below another's."""

    def __init__(self, directory, name, parent=None):
        self.dir, self.name = directory, name
        for file, text in (("cnf", CONF.format(dir=directory, name=name)), ("index", ""), ("index.attr", ""), ("serial", "1000\n")):
            with open(self.path(file), "w") as f:
                f.write(text)
        if parent:
            parent.issue(name, extensions="ca_cert")
        else:
            openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj", "/CN=" + name,
                    "-config", self.path("cnf"), "-extensions", "ca_cert", "-keyout", self.path("key"), "-out", self.path("crt"))

    def path(self, kind, name=None):
        return os.path.join(self.dir, "%s.%s" % (name or self.name, kind))

    def issue(self, name, extensions="client", start=-3600, end=30 * 86400, subject=None, names=0):
        """NAME.crt, NAME.key, and both in NAME.pem; `names`: so many of 50 octets stand in it."""
        with open(self.path("ext"), "w") as f:
            f.write(CONF.format(dir=self.dir, name=self.name).replace("[client]\n", "[client]\n" + (
                "subjectAltName = " + ",".join("DNS:%040d.a.test" % i for i in range(names)) + "\n" if names else "")))
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", subject or "/CN=" + name, "-config", self.path("cnf"),
                "-keyout", self.path("key", name), "-out", self.path("csr", name))
        openssl("ca", "-batch", "-notext", "-config", self.path("cnf"), "-extfile", self.path("ext"), "-extensions", extensions, "-startdate", day(start), "-enddate", day(end),
                "-in", self.path("csr", name), "-out", self.path("crt", name))
        join(self.path("pem", name), self.path("crt", name), self.path("key", name))

    def revoke(self, name):
        openssl("ca", "-batch", "-config", self.path("cnf"), "-revoke", self.path("crt", name))

    def crl(self, seconds=86400):
        openssl("ca", "-batch", "-config", self.path("cnf"), "-gencrl", "-crlsec", str(seconds), "-out", self.path("crl.pem"))
        return self.path("crl.pem")


def join(to, *files):
    """At once: who reads it sees the one or the other."""
    with open(to + ".new", "w") as out:
        for name in files:
            with open(name) as f:
                out.write(f.read())
    os.rename(to + ".new", to)


def field(*files):
    """As RFC 9440 writes certificates."""
    out = []
    for name in files:
        with open(name) as f:
            out.append(":%s:" % base64.b64encode(ssl.PEM_cert_to_DER_cert(f.read())).decode())
    return ", ".join(out)
