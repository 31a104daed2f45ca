"""The hook of OpenPBS: tells vtorque-runtime what the mom knows of a job. Runs in PBS's own Python, as root.

It imports the standard library alone and accepts every event, whatever happens: what is wrong with a job, its owner
reads in the job's output, and a hook that refuses makes OpenPBS run the job again, 21 times.
"""

import json
import os
import subprocess

import pbs

RUNTIME = "/opt/vtorque/bin/vtorque-runtime"
JOBS = "/var/lib/vtorque/jobs"
LIMIT_S = 50
"""Less than the hook's alarm; the runtime takes two seconds."""

PARTS = {
    pbs.EXECJOB_BEGIN: "prologue",
    pbs.EXECJOB_ABORT: "epilogue",
    pbs.EXECJOB_EPILOGUE: "epilogue",
    pbs.EXECJOB_END: "epilogue",
}
NODE_EVENTS = (pbs.EXECHOST_STARTUP, pbs.EXECHOST_PERIODIC)


def attributes(job):
    """Return what of the job the runtime reads, as text; what the mom does not know is left out."""
    found = {name: getattr(job, name, None) for name in ("id", "euser", "queue", "run_version", "exec_vnode")}
    found["exec_host2"] = getattr(job, "exec_host2", None)
    for name in ("vtspec", "walltime", "place"):
        found[name] = member(job.Resource_List, name)
    found["VTORQUE_SPEC"] = member(job.Variable_List, "VTORQUE_SPEC")
    return {name: str(value) for name, value in found.items() if value is not None}


def member(values, name):
    """Return one of a list of named values, None when it is not there."""
    try:
        return values[name]
    except (AttributeError, KeyError, TypeError):  # a resource that this site has not
        return None


def call(*arguments, told=""):
    """Run vtorque-runtime to its end; what it says of failures goes into the mom's log."""
    process = subprocess.Popen(
        [RUNTIME, *arguments],
        cwd="/",
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        said = process.communicate(told.encode("ascii"), timeout=LIMIT_S)[1]
    except subprocess.TimeoutExpired:
        process.kill()
        said = b"did not end"
    if said:
        pbs.logmsg(pbs.LOG_WARNING, "vtorque: " + said.decode("utf-8", "replace")[:2000])


def ours_here():
    """Tell whether jobs of ours are registered on this node."""
    return os.path.isdir(JOBS) and any(not name.startswith(".") for name in os.listdir(JOBS))


def main(event):
    """Do what the event asks for; an ordinary job on a node without jobs of ours starts nothing."""
    if event.type in NODE_EVENTS:
        call("reap")
    elif event.type in PARTS:
        told = attributes(event.job)
        if "vtspec" in told or "VTORQUE_SPEC" in told or ours_here():
            call(PARTS[event.type], "openpbs", told=json.dumps(told))


try:
    main(pbs.event())
except Exception as error:  # an exception would make OpenPBS run the job again, or stop it
    pbs.logmsg(pbs.LOG_ERROR, "vtorque: " + repr(error))
