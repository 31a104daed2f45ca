"""A prologue or an epilogue that a batch system calls, for every job of the node; most carry nothing of ours.

Nothing is imported before a job is known to be ours. A hook always ends with 0 (`verdict`): what goes wrong is
in root's record and, where the job is known, in its verdict.
"""

import os
import sys

import vtorque_runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vtorque_runtime.batch.contract import Hook
    from vtorque_runtime.spool import Registry

_STDIN_LIMIT_BYTES = 4 * 1024**2
_END_LIMIT_S = 40.0
"""Less than any batch system gives a hook of a site that has followed the installation's pages."""


def main(part: str, words: list[str]) -> int:
    """Run `[--site DIR] SYSTEM ARGUMENT...` as the prologue or the epilogue; returns 0, well within two seconds."""
    try:
        site = None
        if words[:1] == ["--site"]:
            site, words = words[1], words[2:]
        _run(part, words[0], words[1:], site)
    except BaseException as error:  # see above: no other exit code than 0
        _record(part, words, error)
    return 0


def _record(part: str, words: list[str], error: BaseException) -> None:
    try:
        from vtorque_runtime.log import LOG, recorded

        with recorded(_registry().log("hooks")):
            LOG.error("%s %s failed", part, " ".join(words), exc_info=error)
    except BaseException:  # a disk that is full, say; the hook's own streams are the last that is left
        try:
            sys.stderr.write(f"vtorque-runtime: {part} {' '.join(words)} failed: {str(error) or repr(error)}\n")
            sys.stderr.flush()
        except OSError:  # not even those; what is left unsaid would be Python's exit code
            sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - for the whole program


def _run(part: str, system: str, arguments: list[str], site: str | None) -> None:
    from vtorque_runtime.batch import adapter

    stdin = sys.stdin.buffer.read(_STDIN_LIMIT_BYTES) if system == "openpbs" else b""
    hook = adapter(system).hook(arguments, os.environ, stdin)
    if part == "prologue":
        _begin(system, hook, site)
    else:
        _end(hook)


def _begin(system: str, hook: "Hook", site: str | None) -> None:
    spec = hook.carried()
    if spec is None:
        return
    from vtorque_runtime.begin import begin

    begin(_registry(), system, hook, spec, site)


def _end(hook: "Hook") -> None:
    key = hook.key()
    if not os.path.lexists(f"{vtorque_runtime.SYSTEM_BASE}/jobs/{key}") and hook.carried() is None:
        return
    from vtorque_runtime.teardown import end_apart
    from vtorque_spec.fault import Fault

    try:
        start = hook.start()
    except Fault:  # the batch system does not answer: whichever start is registered is the one that is over
        start = None
    end_apart(_registry(), key, start, _END_LIMIT_S)


def _registry() -> "Registry":
    from vtorque_runtime.spool import open_registry

    return open_registry("system")
