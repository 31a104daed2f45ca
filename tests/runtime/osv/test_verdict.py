"""How an OSv guest's job ended, by its console: real transcripts, and every row of what its lines mean."""

from pathlib import Path

import pytest

from vtorque_runtime.osv.verdict import ROWS, Ending, Judge

CONSOLES = Path(__file__).parent / "consoles"
BEFORE = "SeaBIOS\nBooting from ROM..OSv v0.57\nBooted up in 0.00 ms\n"
BOOT = BEFORE + "Cmdline: /t\n"
END = "VFS: unmounting /\nPowering off.\n"


def judged(text: str | bytes) -> Ending:
    judge = Judge()
    for line in (text if isinstance(text, bytes) else text.encode()).split(b"\n"):
        judge.take(line)
    return judge.ending("the guest", "(its last lines)")


def verdict(text: str | bytes) -> tuple[int, str | None]:
    ending = judged(text)
    return ending.code, ending.finding.code if ending.finding else None


@pytest.mark.parametrize(
    ("name", "code", "finding"),
    [
        ("success", 0, None),
        ("fork", 0, None),
        ("exit-3", 3, None),
        ("return-5", 5, None),
        ("abort", 134, "VT0953"),
        ("not-found", 127, "VT0952"),
        ("hang-killed", 75, "VT0955"),
    ],
)
def test_what_a_real_osv_printed(name: str, code: int, finding: str | None) -> None:
    assert verdict((CONSOLES / f"{name}.console.txt").read_bytes()) == (code, finding)


@pytest.mark.parametrize(
    ("line", "code", "finding"),
    [
        ("program exited with status 0", 0, None),
        ("program exited with status 3", 3, None),
        ("program exited with status -1", 255, None),
        ("program /t returned 5", 5, None),
        ("program /a b/c returned 7", 7, None),
        ("Failed to load object: /x.so. Powering off.", 127, "VT0952"),
        ("Failed to parse command line.", 127, "VT0952"),
        ("This image has an empty command line. Nothing to run.", 127, "VT0952"),
        ("unrecognized option: assign-net", 127, "VT0952"),
        ("not an option: -x", 127, "VT0952"),
        ("Ignoring value: 'a,b' for option mount-fs, expected in format: <fs_type,url,path>", 127, "VT0952"),
        ("Aborted", 134, "VT0953"),
        ("Assertion failed: x > 0 (a.cc: f: 3)", 134, "VT0953"),
        ("[backtrace]", 134, "VT0953"),
        ("page fault outside application, addr: 0x0", 134, "VT0953"),
        ('Uncaught signal 11 ("Segmentation fault"). Powering off.', 139, "VT0953"),
        ("cloud-init failed when handling 'users'': Handler not found", 1, "VT0954"),
        ("Error in mount(): Invalid argument(22)", 1, "VT0954"),
        ("failed to mount nfs, error = Operation not permitted", 1, "VT0954"),
        ("failed to create missing mount point /data, error = Read-only file system", 1, "VT0954"),
        ("nothing of the kind", 0, None),
    ],
)
def test_each_row(line: str, code: int, finding: str | None) -> None:
    """Whatever stands around it, whether a terminal's codes are in it or not, as the log's last line or not."""
    assert verdict(f"{BOOT}{line}\n{END}") == (code, finding)
    assert verdict(f"{BOOT}a\n\x1b[31m{line}\x1b[0m\r\n{END}") == (code, finding)
    if code or finding:
        assert verdict(BOOT + line) == (code, finding)


def test_a_kernel_that_looks_for_its_root() -> None:
    """It tries one kind after the other: no failure of the job's, unless the program is not found then."""
    tried = "failed to mount /rofs, error = No such device\nfailed to mount /virtiofs, error = No such device\n"
    assert verdict(f"{BEFORE}{tried}Cmdline: /t\n{END}") == (0, None)
    assert verdict(f"{BEFORE}{tried}Cmdline: /t\nFailed to load object: /t. Powering off.\n") == (127, "VT0952")


def test_each_row_has_a_test() -> None:
    """A pattern that no line of the table above reaches is one that nobody tried."""
    (marked,) = [mark for mark in test_each_row.pytestmark if mark.name == "parametrize"]
    lines = [line for line, _, _ in marked.args[1]]
    lines += BAD_OPTIONS
    assert [row.pattern for _, row in ROWS if not any(row.search(line) for line in lines)] == []


BAD_OPTIONS = [
    "duplicate option: --verbose",
    "the required argument for option '--env' is missing",
    "option '--verbose' does not take any arguments",
    "the argument ('x') for option '--maxnic' is invalid",
]


@pytest.mark.parametrize("line", BAD_OPTIONS)
def test_an_option_that_the_kernel_refuses(line: str) -> None:
    """It switches itself off without any other word. A program may print the same."""
    assert verdict(f"{BEFORE}{line}\nOSv options:\n  --help show help text\n") == (127, "VT0952")
    assert verdict(f"{BOOT}{line}\n{END}") == (0, None)


@pytest.mark.parametrize("line", ["Failed looking up main. Powering off.", "/x: not an ELF file. Powering off."])
def test_a_command_that_cannot_be_started_for_another_reason(line: str) -> None:
    """The reasons are many; the end is no orderly one. As a program's own words they say nothing."""
    assert verdict(f"{BOOT}{line}\n") == (127, "VT0952")
    assert verdict(f"{BOOT}program /t returned 5\n{line}\n") == (127, "VT0952")
    assert verdict(f"{BOOT}{line}\nprogram exited with status 3\n{END}") == (3, None)
    assert verdict(f"{BOOT}{line}\n{END}") == (0, None)
    assert verdict(f"{BOOT}{line}\nworking\n") == (75, "VT0955")


def test_a_program_whose_last_line_has_no_newline() -> None:
    assert verdict(f"{BOOT}all doneprogram exited with status 3\n{END}") == (3, None)
    assert verdict(f"{BOOT}50 %program /t returned 4\n{END}") == (4, None)
    assert verdict(f"{BOOT}my program is doneprogram /t returned 4\n{END}") == (4, None)
    assert verdict(f"{BOOT}program program /t.so -program x returned 4\n{END}") == (4, None)
    assert verdict(f"{BOOT}50 %Failed to load object: /x. Powering off.") == (127, "VT0952")


def test_what_the_program_says_itself_counts_until_the_kernel_speaks() -> None:
    said = "program exited with status 9\nAborted\nFailed to parse command line.\n"
    assert verdict(f"{BOOT}{said}program exited with status 0\n{END}") == (0, None)
    assert verdict(f"{BOOT}program exited with status 0\nAborted\n[backtrace]\n0x1000\n") == (134, "VT0953")


@pytest.mark.parametrize("word", ["Aborted", "Nothing to run.", "failed to mount nfs", "program exited with status 3"])
def test_what_the_kernel_repeats_of_the_job_is_no_report(word: str) -> None:
    """It shows variables and the command before the program starts; a program's own line may begin alike."""
    assert verdict(f"{BEFORE}Setting in environment: NOTE={word}\nCmdline: /t {word}\n{END}") == (0, None)
    assert verdict(f"{BOOT}Cmdline: program exited with status 3\n{END}") == (3, None)


def test_a_line_inside_another_is_none() -> None:
    """Only what ends like the kernel's line is taken for it."""
    assert verdict(f"{BOOT}my program exited with status 3 of 5\nAborted two of five runs\n{END}") == (0, None)


@pytest.mark.parametrize("report", ["", "program exited with status 0\n", "program /t returned 0\n"])
def test_what_failed_before_or_beside_the_job_fails_it(report: str) -> None:
    """A mount that failed leaves an empty directory, in which the program may well succeed."""
    assert verdict(f"{BOOT}failed to mount nfs, error = 1\nfine\n{report}{END}") == (1, "VT0954")
    assert verdict(f"{BEFORE}Ignoring value: 'a' for option mount-fs\nCmdline: /t\n{report}{END}") == (127, "VT0952")


def test_the_status_of_a_job_that_also_lacked_something() -> None:
    assert verdict(f"{BOOT}cloud-init failed: yaml-cpp: error\nprogram exited with status 3\n{END}") == (3, "VT0954")


def test_a_guest_that_ended_without_a_report() -> None:
    """No orderly end, no report: whatever came last does not say that the job is done."""
    assert verdict(f"{BOOT}working\n") == (75, "VT0955")
    assert verdict(b"") == (75, "VT0955")
    assert verdict(f"{BOOT}Powering off.\nand on\n") == (75, "VT0955")


def test_the_finding_shows_the_line_and_obeys_nothing_in_it() -> None:
    told = judged(f"{BOOT}Failed to load object: /\x07x.so. Powering off.").finding
    assert told is not None
    assert told.detail == "Failed to load object: /?x.so. Powering off."
    crash = judged(f"{BOOT}Aborted\n").finding
    assert crash is not None
    assert crash.detail == "(its last lines)"


@pytest.mark.parametrize(
    ("text", "phase"),
    [
        ("\x1bc\x1b[?7l\x1b[2J\x1b[0mSeaBIOS\r\n", None),
        ("Booting from ROM..OSv v0.57-snap\r\n", "kernel"),
        (f"OSv v0.57\n{BOOT}", "running"),
        ("OSv v0.57\neth0: Cmdline: no\n", "kernel"),
        ("Booting from Hard Disk...\nOSv v0.24-448-gf47a61f\n", "running"),
    ],
)
def test_how_far_the_guest_is(text: str, phase: str | None) -> None:
    judge = Judge()
    for line in text.encode().split(b"\n"):
        judge.take(line)
    assert judge.phase == phase
