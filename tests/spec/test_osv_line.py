"""The command line of OSv: what goes in comes out of a model of OSv's own parser, or is refused."""

from dataclasses import replace
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.compilers.plans import BRIDGE, NAT, NETWORK, USER
from tests.spec.osv_parser import RefusedError, read
from vtorque_compilers.domain.xml import element
from vtorque_spec.fault import Fault
from vtorque_spec.plan import OsvImage, OsvRun, Variable
from vtorque_spec.resolve.osv_line import ALWAYS, LIMIT_BYTES, LONGEST_NETWORK, command_line, mount_options
from vtorque_spec.resolve.osv_line import network_options as options_of

DISK = OsvImage("disk", "mainline", "rofs", False)
KERNEL = replace(DISK, boot="kernel")
ROFS = [*ALWAYS, "--rootfs=rofs"]


def run(*commands: list[str], **env: str) -> OsvRun:
    variables = tuple(Variable(name, value, None) for name, value in env.items())
    return OsvRun(tuple(map(tuple, commands)), variables, "job")


def line(*commands: list[str], image: OsvImage = DISK, **env: str) -> str:
    return command_line(run(*commands, **env), image, ())


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
ODD = st.text(st.sampled_from(list("a \\\"'$;&!\t\n\r-=\u00e9")), max_size=8)
WORDS = TEXT | ODD
PATHS = WORDS.filter(lambda word: word != "" and not word.startswith("-"))
COMMANDS = st.lists(st.tuples(PATHS, st.lists(WORDS, max_size=4)), min_size=1, max_size=3)
NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,6}", fullmatch=True) | st.sampled_from(["OSVARG1", "OSVARG2"])


@settings(max_examples=1000, deadline=None)
@given(said=COMMANDS, env=st.dictionaries(NAMES, WORDS, max_size=4))
def test_any_words_and_any_environment_arrive(said: list[tuple[str, list[str]]], env: dict[str, str]) -> None:
    commands = [[path, *arguments] for path, arguments in said]
    options, found, ran = read(line(*commands, **env))
    assert (options, ran) == (ROFS, commands)
    assert {name: value for name, value in found.items() if name in env} == env
    assert all(name.startswith("OSVARG") for name in found.keys() - env.keys())


@settings(deadline=None)
@given(
    word=WORDS | st.text(st.characters(exclude_categories=["Cs"]), max_size=4), boot=st.sampled_from(["kernel", "disk"])
)
def test_a_word_arrives_or_is_refused(word: str, boot: Literal["kernel", "disk"]) -> None:
    """A line for QEMU's own loader goes through XML, which carries less."""
    image = replace(DISK, boot=boot)
    carried = "\0" not in word and (boot == "disk" or not xml_refuses(word))
    if carried:
        assert read(line(["/t", word], image=image))[2] == [["/t", word]]
    else:
        with pytest.raises(Fault, match="VT0610"):
            line(["/t", word], image=image)


def xml_refuses(word: str) -> bool:
    """Whether the domain's XML would."""
    try:
        element("cmdline", word)
    except Fault:
        return True
    return False


def test_the_form() -> None:
    """Plain words stand as they are, printable ones in quotes, and what neither carries in a variable."""
    assert line(["/t", "-v", "a b", 'q"\\', "", "x$y", "é"], ["/u"], A="1 2", OSVARG1="mine") == (
        r"--verbose --power-off-on-abort --rootfs=rofs "
        r"--env=A=1\ 2 --env=OSVARG1=mine --env=OSVARG2=x$y --env=OSVARG3=é "
        r'/t -v "a b" "q\"\\" "" $OSVARG2 $OSVARG3 ; /u'
    )


@pytest.mark.parametrize("text", ["/t ; ; /u", '/t "a', "/é", "--env= /t"])
def test_the_model_refuses_what_osv_does(text: str) -> None:
    with pytest.raises(RefusedError):
        read(text)


REFUSED: dict[str, tuple[list[str], str]] = {
    "an option as the program": (["--help"], "the path of a program begins with a `-`: --help"),
    "no program": ([""], "the path of a program is empty"),
    "a NUL": (["/t", "a\0"], "OSv's command line, where this image finds it, cannot hold U+0000"),
    "half a character": (["/t", "\ud800"], "OSv's command line, where this image finds it, cannot hold U+D800"),
}


@pytest.mark.parametrize(("command", "message"), REFUSED.values(), ids=REFUSED)
def test_what_no_line_can_hold(command: list[str], message: str) -> None:
    with pytest.raises(Fault) as caught:
        line(command)
    assert (caught.value.code, caught.value.message) == ("VT0610", message)


def test_a_line_for_the_kernel_holds_no_line_break() -> None:
    assert read(line(["/t", "a\nb"], A="c\td"))[1:] == ({"A": "c\td", "OSVARG1": "a\nb"}, [["/t", "a\nb"]])
    for said in (([["/t", "a\nb"]], {}), ([["/t"]], {"A": "c\td"})):
        commands, env = said
        with pytest.raises(Fault, match=r"VT0610: .* cannot hold U\+000"):
            line(*commands, image=KERNEL, **env)


@pytest.mark.parametrize("image", [KERNEL, DISK], ids=lambda image: image.boot)
def test_a_line_is_refused_before_it_is_cut(image: OsvImage) -> None:
    """To the byte: é is two of them."""
    limit = LIMIT_BYTES[image.boot]
    room = limit - len(line(["/t"], image=image, A="é").encode())
    assert len(line(["/t"], image=image, A="é" + "x" * room).encode()) == limit
    with pytest.raises(Fault, match=f"VT0610: the command line of the OSv guest has {limit + 1} bytes"):
        line(["/t"], image=image, A="é" + "x" * (room + 1))


def test_a_kernel_that_is_told_no_root_looks_for_one() -> None:
    assert "--rootfs" not in line(["/t"], image=replace(DISK, options="fork-2018", rootfs=None))


NICS: dict[str, tuple[Any, list[str]]] = {
    "isolated": (NETWORK, ["--ip=eth0,10.177.0.2,255.255.255.0"]),
    "nat": (
        NAT, ["--ip=eth0,10.177.0.2,255.255.255.0", "--defaultgw=10.177.0.1", "--nameserver=10.0.0.53"]
    ),
    "user": (USER, ["--ip=eth0,10.0.2.15,255.255.255.0", "--defaultgw=10.0.2.2", "--nameserver=10.0.2.3"]),
}  # fmt: skip


@pytest.mark.parametrize(("nic", "wanted"), NICS.values(), ids=NICS)
def test_every_guest_has_a_fixed_address(nic: Any, wanted: list[str]) -> None:
    """One without waits for a DHCP server, for ever."""
    assert list(options_of(nic)) == wanted


@pytest.mark.parametrize("nic", [NETWORK, NAT, USER, BRIDGE])
def test_no_network_takes_more_room_than_is_set_aside(nic: Any) -> None:
    assert len(" ".join(options_of(nic))) <= len(" ".join(LONGEST_NETWORK))


def test_shares_are_known_by_their_number() -> None:
    assert list(mount_options(["/data", "/apps"])) == [
        "--mount-fs=virtiofs,/dev/virtiofs0,/data", "--mount-fs=virtiofs,/dev/virtiofs1,/apps",
    ]  # fmt: skip
