import os
from pathlib import Path

import pytest

from vtorque_spec.fault import Fault
from vtorque_spec.site.capstan import read_package

PACKAGE = (
    "name: mike/solver\ntitle: A solver\nauthor: Mike\nversion: 0.1\nrequire:\n- osv.nfs\ncreated: 2017-06-12 09:40\n"
)
RUN = """runtime: native
config_set:
  hello:
    bootcmd: /usr/bin/simpleFoam.so -case $FOAM_CASE_DIR
    env:
      FOAM_CASE_DIR: /case
  again:
    base: "openfoam.core:default"
config_set_default: hello, again
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    (tmp_path / "solver/meta").mkdir(parents=True)
    (tmp_path / "solver/meta/package.yaml").write_text(PACKAGE)
    (tmp_path / "solver/meta/run.yaml").write_text(RUN)
    return tmp_path / "solver"


def test_a_package_is_understood(package: Path) -> None:
    found = read_package(package)
    assert (found.name, found.title, found.config_sets) == ("mike/solver", "A solver", ("hello", "again"))


def test_a_package_that_cannot_be_run_has_no_config_sets(package: Path) -> None:
    (package / "meta/run.yaml").unlink()
    assert read_package(package).config_sets == ()


@pytest.mark.parametrize("runtime", ["node", "java", "python"])
def test_the_other_runtimes_have_no_bootcmd(package: Path, runtime: str) -> None:
    (package / "meta/run.yaml").write_text(f"runtime: {runtime}\nconfig_set:\n  hello:\n    main: /app.x\n")
    assert read_package(package).config_sets == ("hello",)


@pytest.mark.parametrize(
    ("file", "old", "new", "told"),
    [
        ("package", "author: Mike\n", "", "has no author"),
        ("package", "title: A solver", "title: 3", "has no title"),
        ("package", PACKAGE, "", "the file is empty"),
        ("package", "name: mike/solver", "name: ../../solver", "`../../solver` is not a name"),
        ("package", "name: mike/solver", "name: [", "package.yaml:3: "),
        ("run", "runtime: native", "runtime: ruby", "has no runtime that is known"),
        ("run", "config_set:", "config_sets:", "has no config_set"),
        ("run", "  hello:", "  a b:", "`a b` is not a name"),
        ("run", "    bootcmd: /usr/bin/simpleFoam.so -case $FOAM_CASE_DIR\n", "", "`hello` says nothing to run"),
        ("run", "/usr/bin/simpleFoam.so -case $FOAM_CASE_DIR", "''", "`hello` says nothing to run"),
        ("run", "/usr/bin/simpleFoam.so -case $FOAM_CASE_DIR", "' '", "`hello` says nothing to run"),
        ("run", "/usr/bin/simpleFoam.so -case $FOAM_CASE_DIR", "", "`hello` says nothing to run"),
        ("run", "/usr/bin/simpleFoam.so -case $FOAM_CASE_DIR", "3", "what the config set `hello` runs is no text"),
        ("run", "/usr/bin/simpleFoam.so -case $FOAM_CASE_DIR", "[/a]", "what the config set `hello` runs is no text"),
        ("run", '"openfoam.core:default"', "{}", "what the config set `again` runs is no text"),
        ("run", "hello, again", "hello, other", "the default `other` is no config set"),
    ],
)
def test_a_defect_is_named(package: Path, file: str, old: str, new: str, told: str) -> None:
    path = package / "meta" / f"{file}.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(Fault, match="VT0524: ") as raised:
        read_package(package)
    assert told in raised.value.message
    assert raised.value.help


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("Z: 0777", "put it in quotes, or write it as a decimal number"),
        ("T: 1_000", "put it in quotes, or write it as a decimal number"),
        ("T: &t 1", "remove it, and write values out"),
        ("T: 12345678901234567890", "put it in quotes if it is text"),
        (f"T: {'x' * 70_000}", "vtorque reads plain YAML, of 256 KiB at most: mend the line, or make the file smaller"),
    ],
    ids=["octal", "underscore", "anchor", "large-number", "large-text"],
)
def test_yaml_that_capstan_alone_takes_is_told_as_that(package: Path, line: str, hint: str) -> None:
    """The package has its files: that is not what is wrong."""
    path = package / "meta/run.yaml"
    path.write_text(RUN.replace("FOAM_CASE_DIR: /case", line))
    with pytest.raises(Fault, match=r"VT0524: .*run\.yaml:6: ") as raised:
        read_package(package)
    assert raised.value.help == hint


def test_no_package_at_all(tmp_path: Path) -> None:
    with pytest.raises(Fault, match=r"VT0524: .*meta/package\.yaml: no such file"):
        read_package(tmp_path)


def test_the_disk_is_in_the_directory_or_in_the_repository(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAPSTAN_ROOT", str(tmp_path / "capstan"))
    with pytest.raises(Fault, match="VT0524: there is no one disk of the package `mike/solver`: neither"):
        read_package(package).disk()
    composed = tmp_path / "capstan/repository/mike/solver/solver.qemu"
    os.makedirs(composed.parent)
    composed.touch()
    assert read_package(package).disk() == composed
    own = package / "own.qemu"
    own.touch()
    assert read_package(package).disk() == own
    (package / "other.qcow2").touch()
    with pytest.raises(Fault, match=r"VT0524: .*other\.qcow2 and .*own\.qemu"):
        read_package(package).disk()


@pytest.mark.root
def test_a_package_of_a_number_without_a_name_is_looked_for_at_home(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CAPSTAN_ROOT", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    os.chown(package, 4_242_424, 4_242_424)
    composed = tmp_path / "home/.capstan/repository/mike/solver/solver.qemu"
    os.makedirs(composed.parent)
    composed.touch()
    assert read_package(package).disk() == composed


@pytest.mark.parametrize("file", ["package", "run"])
@pytest.mark.parametrize("to", ["pipe", "file"])
def test_a_link_in_a_package_is_not_followed(package: Path, tmp_path: Path, file: str, to: str) -> None:
    """Root would wait at a pipe for ever, and a file need not be the package's."""
    path = package / "meta" / f"{file}.yaml"
    if to == "pipe":
        os.mkfifo(tmp_path / "pipe")
        path.unlink()
    else:
        path.rename(tmp_path / "file")
    path.symlink_to(tmp_path / to)
    with pytest.raises(Fault, match=rf"VT0524: .*{file}\.yaml is not a plain file"):
        read_package(package)
