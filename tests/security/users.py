"""Ordinary users of this machine, and what they try."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.boots import USER, make_user

_LIMIT_S = 60


@dataclass(frozen=True)
class User:
    """One of them, with all groups."""

    name: str
    uid: int
    gid: int
    home: Path

    @classmethod
    def make(cls, name: str = USER) -> Self:
        found = make_user(name)
        return cls(name, found.pw_uid, found.pw_gid, Path(found.pw_dir))

    def start(self, code: str, *arguments: object) -> "subprocess.Popen[str]":
        """Start Python code as the user."""
        return subprocess.Popen(
            ["/usr/bin/python3", "-I", "-c", code, *map(str, arguments)],
            user=self.uid,
            group=self.gid,
            extra_groups=os.getgrouplist(self.name, self.gid),
            env={},
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def does(self, code: str, *arguments: object) -> str:
        """Run Python code as the user; return what it prints, or the name of the exception that ended it."""
        with self.start(code, *arguments) as process:
            out, err = process.communicate(timeout=_LIMIT_S)
        return out.strip() if process.returncode == 0 else err.strip().splitlines()[-1].partition(":")[0]

    def reads(self, path: Path) -> str:
        """Read a file or list a directory as the user: "yes", or the name of the exception."""
        return self.does(
            "import os, sys; p = sys.argv[1]; (os.listdir if os.path.isdir(p) else open)(p); print('yes')", path
        )
