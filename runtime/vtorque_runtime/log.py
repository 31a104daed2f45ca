"""Root's record of a job: the standard library's logging, as JSON lines in a file that outlives the job.

A line has `at` (ISO 8601, UTC), `level`, `job` (its name here; `hooks` for what no job is known of), `pid` of who wrote
it and `message`; of a failure also `error` and `traceback`. What a guest said (`Fault.detail`) is not in it: a console
tells nonces.
"""

import json
import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

LOG = logging.getLogger("vtorque")

_MESSAGE_LIMIT = 4000
_TRACEBACK_LIMIT = 8000
"""Characters; of a traceback the end, where the failure is."""


class _JsonLines(logging.Formatter):
    def __init__(self, job: str) -> None:
        super().__init__()
        self._job = job

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, str | int] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "job": self._job,
            "pid": record.process or 0,
            "message": record.getMessage()[:_MESSAGE_LIMIT],
        }
        if record.exc_info and record.exc_info[1]:
            error = record.exc_info[1]
            entry["error"] = repr(error)[:_MESSAGE_LIMIT]
            entry["traceback"] = "".join(traceback.format_exception(error))[-_TRACEBACK_LIMIT:]
        return json.dumps(entry)


class _File(logging.FileHandler):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name
        """Drop what the disk does not take."""


@contextmanager
def recorded(path: Path) -> Iterator[None]:
    """Write what is logged inside the block to `path` (JOB.jsonl), in a directory that only the caller can write.

    A disk that does not take it stops nothing: what is done matters more than what is told of it.
    """
    try:
        handler: logging.Handler = _File(path, encoding="utf-8")
        path.chmod(0o600)
    except OSError:
        handler = logging.NullHandler()
    handler.setFormatter(_JsonLines(path.stem))
    LOG.addHandler(handler)
    LOG.setLevel(logging.INFO)
    LOG.propagate = False
    try:
        yield
    finally:
        LOG.removeHandler(handler)
        handler.close()
