# SPDX-License-Identifier: BSD-2-Clause
"""`baton demo up` and `down`, as somebody calls them who wants to look around."""
import os
import subprocess

from bed import BUILD, check, options


@options(bare=True, hosts=2)
def test_demo_up_and_down(bed):
    def demo(*words, status=0):
        r = subprocess.run([os.path.join(BUILD, "baton"), "demo", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                           env=dict(os.environ, BATON_POP_PREFIX=bed.prefix), timeout=80)
        check(r.returncode == status, "baton demo %s: exit %d: %s", " ".join(words), r.returncode, r.stdout[-600:])
        return r.stdout

    text = demo("up", status=1)
    check("is already up" in text and "baton demo down` removes it" in text, "a second up does not say what removes the first: %s", text)
    demo("down")
    text = demo("up")
    check("pop baton --prefix %s show hosts" % bed.prefix in text, "no word on how to look around: %s", text)
    check("exec --prefix %s client curl" % bed.prefix in text, "no word on how to ask the service: %s", text)
    demo("down")
