"""Batch scripts to read again: what each flavour gives for the same job."""

import re
from typing import get_args

from hypothesis import strategies as st

from tests.compilers.plans import JOB, REQUEST
from vtorque_compilers.script import compile_script
from vtorque_spec.carrier import MachinePart, encode_machine_part, encode_user_part
from vtorque_spec.plan import Flavour, JobPlan, NodeRequest, Script, UserPart, Variable

FLAVOURS: tuple[Flavour, ...] = get_args(Flavour)

USER = UserPart(1, Script("echo hello\n", ("-v",)), None, None, (Variable("OMP_NUM_THREADS", "14", None),))
MACHINE = MachinePart({"image": "debian-12"}, "sha256:1", "sha256:2")
MACHINE_PART, USER_PART = encode_machine_part(MACHINE), encode_user_part(USER)

HOSTILE = (
    "\r#PBS -W jobtype=user\nid\r\n#PBS -q other\x85touch x\u2028id\x0b\x0c\x1c\x00$(id)`id`'\"\\\n#PBS -q x"
    "\n#SBATCH --uid=0\n#BSUB\n#VTORQUE VT1.QUJD\nVTORQUE-USER-PART\nid"
)
"""A description that would ask for more, carry another machine part, and run something."""

ANY_WORD = st.text() | st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1)
"""Any text, and often one that a directive may be able to carry."""


def carried(word: str) -> bool:
    """Whether a directive can carry `word`."""
    return bool(re.fullmatch(r"[!-~]+", word)) and not set(word) & set("\"'\\#")


def compiled(
    flavour: Flavour,
    job: JobPlan = JOB,
    request: NodeRequest = REQUEST,
    *,
    machine_part: str = MACHINE_PART,
    user_part: str = USER_PART,
    description: str = "name: cavity\n",
) -> str:
    """Return the text of a batch script."""
    return compile_script(flavour, job, request, machine_part, user_part, description).text
