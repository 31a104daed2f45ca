"""What tests of `vtorque image` share."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from click.testing import Result

from tests.spec.helpers import CONTEXT, MINIMAL, checked, site
from vtorque_runtime.images import store
from vtorque_spec.driver import machine_part
from vtorque_spec.node import Answer, plan_job, plan_of, read_answer
from vtorque_spec.placement.nodes import node_of_class
from vtorque_spec.placement.preview import preview_context
from vtorque_spec.plan import ImageFiles

CMDLINE = "console=ttyS0 root=LABEL=root rw"

Run = Callable[..., Result]


def entries(site: Path) -> list[str]:
    """Return the files of the catalogue, but for the one that the site begins with."""
    return sorted(path.name for path in (site / "images").iterdir() if path.name not in ("debian-12.yaml", ".lock"))


def stored(images: Path) -> list[str]:
    """Return the names of the images in the store, and whatever else is there."""
    names = (path.name for path in images.iterdir() if path.name != ".lock") if images.exists() else ()
    return sorted(name.partition("@")[0] for name in names)


def add(run: Run, name: str, disk: Path, *more: str) -> str:
    """Add an image of Linux as revision 1 and return its digest."""
    result = run("add", name, disk, "--cmdline", CMDLINE, "--revision", "1", *more)
    assert result.exit_code == 0, result.output
    return store.newest(store.SYSTEM_STORE)[name].disk.sha256


def planned(image: str, directory: Path) -> Answer:
    """Plan a job that names the image for a node with this store; `directory` is the site's."""
    at = site(directory)
    found = checked(MINIMAL.replace("debian-12", image), at=at)
    name = found.choice.node_class
    context = preview_context(found.job, name, node_of_class(at, name))
    here = replace(context, images=store.installed(store.SYSTEM_STORE))
    return read_answer(plan_job(machine_part(found), at, CONTEXT, here))


def job_gets(image: str, directory: Path) -> ImageFiles:
    """Return what that job's guests start from."""
    return plan_of(planned(image, directory)).image
