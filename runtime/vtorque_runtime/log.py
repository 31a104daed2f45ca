"""Root's record of a job: the standard library's logging, as JSON lines in the job's spool."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOG = logging.getLogger("vtorque")


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry = {"at": self.formatTime(record), "level": record.levelname.lower(), "message": record.getMessage()}
        if record.exc_info and record.exc_info[1]:
            entry["error"] = repr(record.exc_info[1])
        return json.dumps(entry)


@contextmanager
def recorded(path: Path) -> Iterator[None]:
    """Write what is logged inside the block to `path`, in a directory that only the caller can write."""
    handler = logging.FileHandler(path, encoding="utf-8")
    path.chmod(0o600)
    handler.setFormatter(_JsonLines())
    LOG.addHandler(handler)
    LOG.setLevel(logging.INFO)
    LOG.propagate = False
    try:
        yield
    finally:
        LOG.removeHandler(handler)
        handler.close()
