"""A site and the programs of a throw-away cluster: what root's hooks read there, and what is on its users' PATH."""

import os
import shutil
import stat
import sys
import textwrap
from pathlib import Path

from tests.runtime.batch.installed import HOOKS, program
from tests.spec.helpers import ROOT
from vtorque_runtime.images.store import SYSTEM_STORE, installed

SITE = """\
apiVersion: vtorque-site/v1
name: test
batch: {batch}
hypervisor: any
min_uid: 1000
node_fault: offline
node_classes:
  generic: {{cpus: 64, memory: 256GiB, vcpu: thread, nodes: "node[1-9]"}}
mounts:
  home: {{source: $HOME, target: $HOME, mode: rw, allow_suid: true}}
"""

NETWORKS = """\
networks:
  default: {kind: isolated}
"""

IMAGE = """\
name: {name}
description: the image of these tests
guest: linux
arch: x86_64
sha256: {sha256}
min_memory: 256MiB
min_disk: 1GiB
cmdline: console=ttyS0 root=LABEL=root rw net.ifnames=0 mitigations=off quiet loglevel=3 systemd.show_status=no
"""


RUNTIME = """\
#!/bin/sh
case $1 in prologue | epilogue)
  part=$1
  shift
  set -- "$part" --site {site} "$@" ;;
esac
exec {python} -I -m vtorque_runtime "$@"
"""
"""The runtime of this checkout, for hooks."""


def write_site(directory: Path, batch: str = "slurm", more: str = NETWORKS) -> Path:
    """Write a site for the images that this machine has, root's alone, with a cluster key; return its directory."""
    site = directory / "etc"
    (site / "images").mkdir(parents=True)
    (site / "site.yaml").write_text(SITE.format(batch=batch) + textwrap.dedent(more))
    for image in installed(SYSTEM_STORE):
        (site / f"images/{image.name}.yaml").write_text(IMAGE.format(name=image.name, sha256=image.sha256))
    key = site / "cluster.key"
    key.touch(mode=0o600)
    key.write_text(os.urandom(32).hex() + "\n")
    return site


def write_programs(directory: Path) -> Path:
    """Put `vtorque-runtime` where every user can run it, wherever this checkout lies; return the directory for PATH."""
    library, programs = directory / "lib", directory / "bin"
    for part in ("vtorque_spec", "runtime/vtorque_runtime"):
        shutil.copytree(ROOT / part, library / Path(part).name, ignore=shutil.ignore_patterns("__pycache__"))
    programs.mkdir()
    program = programs / "vtorque-runtime"
    program.write_text(
        f"#!/usr/bin/python3 -I\nimport sys\nsys.path.insert(0, {str(library)!r})\n"
        "from vtorque_runtime.__main__ import main\nsys.exit(main())\n"
    )
    program.chmod(0o755)
    for path in (library, programs, *library.rglob("*")):
        path.chmod(path.stat().st_mode | stat.S_IROTH | (stat.S_IXOTH if path.is_dir() else 0))
    return programs


def write_hook(directory: Path, site: Path) -> Path:
    """Install Slurm's hook below this directory, as an admin does; the runtime there has this site. Return its path.

    A hook that the nodes had before notes each job's number in the file `earlier`.
    """
    programs, hook = directory / "opt", directory / "slurm-hook"
    program(programs / "vtorque-runtime", RUNTIME.format(site=site, python=sys.executable))
    text = (HOOKS / "slurm").read_text()
    program(hook, text.replace("/opt/vtorque/bin", str(programs)).replace("/etc/vtorque", str(site)))
    program(site / "hooks/prologue", f'#!/bin/sh\necho "$SLURM_JOB_ID" >>{directory}/earlier\n')
    return hook
