"""Distinct job files to lint, and a site with rules to lint them at."""

from pathlib import Path

from measure import ROOT

POLICY = """\
properties:
  vcpus: {maximum: 48}
  memory: {maxQuantity: 200GiB, code: SITE001, message: "{value} of memory, but nodes have {limit}"}
  image: {imageIn: ["debian-*"]}
  batch: {properties: {walltime: {maxDuration: "48:00:00"}, account: {pattern: "^[a-z]+[0-9]*$"}}}
allOf:
  - if: {properties: {context: {properties: {groups: {contains: {const: students}}}}}}
    then: {properties: {vcpus: {maximum: 4}}}
  - if: {properties: {batch: {properties: {queue: {const: short}}, required: [queue]}}, required: [batch]}
    then: {properties: {batch: {properties: {walltime: {maxDuration: "24:00:00"}}}}}
"""

MEMBERS = (
    "batch: {{walltime: \"{hours:02}:00:00\", queue: batch, output: out/{number}.log}}\n",
    "vcpus: {vcpus}\n",
    "memory: {memory}GiB\n",
    "root_disk: {{size: {disk}GiB}}\n",
    "mounts: [home]\n",
    "hooks: {{prologue: {{inline: \"mkdir -p out/{number}\"}}}}\n",
    "env: {{OMP_NUM_THREADS: \"{vcpus}\", CASE: \"case {number}\"}}\n",
    "timeouts: {{boot: {boot}s, grace: 60s}}\n",
)  # fmt: skip
"""Each of the 256 ways to choose among these is a way to write a job."""

DEFECTS = (
    "vcpu: 4\n",
    "memry: 4GiB\n",
    "shared_memory: 24\n",
    "pinning: scatter\n",
    "network: nowhere\n",
    "allow_degraded: emulation\n",
    "iocm: maybe\n",
    "telemetry: {interval: 10 parsecs}\n",
    "disks: [{size: 1GiB}]\n",
    "packages: {}\n",
)
"""Every tenth job has one of these."""


def write_jobs(directory: Path, count: int) -> None:
    """Write `count` job files, no two alike."""
    directory.mkdir(parents=True)
    for number in range(count):
        (directory / f"job{number:05}.vjob.yaml").write_text(job_text(number))


def job_text(number: int) -> str:
    """Return the text of one job; every tenth has a defect."""
    figures = {
        "number": number, "hours": 1 + number % 23, "vcpus": 1 + number % 32, "memory": 1 + number % 128,
        "disk": 8 + number % 4000, "boot": 60 + number % 60,
    }  # fmt: skip
    chosen = [member.format(**figures) for bit, member in enumerate(MEMBERS) if number >> bit & 1]
    defect = DEFECTS[number // 10 % len(DEFECTS)] if number % 10 == 7 else ""
    head = f"apiVersion: vtorque/v1\nname: job{number:05}\nimage: debian-12\n"
    run = f'run: |\n  ./solver --case {number} \\\n    --threads "$OMP_NUM_THREADS"\n'
    return head + "".join(chosen) + defect + run


def write_site(directory: Path, policy: str) -> Path:
    """Write a site like the built-in one, with that policy."""
    (directory / "images").mkdir(parents=True)
    (directory / "policy.yaml").write_text(policy)
    (directory / "site.yaml").write_text((ROOT / "schemas/local/site.yaml").read_text())
    image = (ROOT / "schemas/local/images/debian-12.yaml").read_text()
    (directory / "images/debian-12.yaml").write_text(f"{image}sha256: {'a' * 64}\n")
    return directory
