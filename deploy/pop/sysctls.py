# SPDX-License-Identifier: BSD-2-Clause
"""The settings that deploy/sysctl.d ships for switches and for hosts: the POP runs with them, as a machine would."""
import os

DIRECTORY = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "sysctl.d")


def files():
    names = sorted(os.listdir(DIRECTORY)) if os.path.isdir(DIRECTORY) else []
    return {kind: [os.path.join(DIRECTORY, n) for n in names if kind in n] for kind in ("switch", "host")}
