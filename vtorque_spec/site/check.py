"""What `vtorque site check` finds beyond what every command checks: what would surprise the admin or the users later.

Every other command goes on with a site that has these findings.
"""

import os
from collections.abc import Iterable, Iterator
from itertools import combinations
from pathlib import Path, PurePosixPath

from vtorque_spec.diagnostics import Code, Note, Report, Span, near_miss
from vtorque_spec.document import Document
from vtorque_spec.site import Files, policy_of, read_files
from vtorque_spec.site.catalogue import by_name, called, state_of
from vtorque_spec.site.distros import check_packager
from vtorque_spec.site.host import check_owner
from vtorque_spec.site.model import SiteFile, SiteMount
from vtorque_spec.spec.parse import value_at
from vtorque_spec.units import QuantityError, parse_duration, print_duration

READ = ("site.yaml", "policy.yaml", "images", "policy.test")
"""What a site's directory may hold, beside what `policy.yaml` refers to."""

_DATA = (".yaml", ".yml", ".json")


def inspect(root: Path, report: Report) -> Files | None:
    """Check a site's directory; what every command says of it is not repeated. None when it cannot be read."""
    check_owner(root, report)
    if os.access(root, os.R_OK | os.X_OK):
        _check_unread(root, report)
    files = read_files(root, Report())
    if files is not None:
        _check_facts(files, report)
    return files


def _check_facts(files: Files, report: Report) -> None:
    facts, document = files.facts, files.document
    if any(said.nodes for said in facts.node_classes.values()):
        from vtorque_spec.site.nodes import check_nodes  # ClusterShell is loaded where node sets are

        check_nodes(facts.node_classes, document, report)
    _check_properties(facts, document, report)
    _check_reserves(facts, document, report)
    if facts.iocm and facts.iocm.mode == "skvm":
        from vtorque_spec.site.skvm import check_skvm

        check_skvm(facts, document, report)
    _check_hook_limit(files, report)
    for (name, one), (later, other) in combinations(facts.mounts.items(), 2):
        _check_mounts((name, one), (later, other), document, report)
    _check_networks(facts, document, report)
    if any(said.addresses for said in facts.networks.values()):
        from vtorque_spec.site.address_tables import check_tables

        check_tables(facts, document, report)
    _check_images(files, report)


def _check_properties(facts: SiteFile, document: Document, report: Report) -> None:
    first: dict[str, str] = {}
    for name, said in facts.node_classes.items():
        if said.property is None:
            continue
        earlier = first.setdefault(said.property, name)
        if earlier != name:
            notes = [Note(f"`{earlier}` has it first", document.span(("node_classes", earlier, "property")))]
            message = f"the node classes `{earlier}` and `{name}` have the same property `{said.property}`"
            hint = "give each class a property of its own: a job cannot ask for one of them alone"
            place = document.span(("node_classes", name, "property"))
            report.add(Code.PROPERTY_TWICE, message, place, notes=notes, help=hint)


def _check_reserves(facts: SiteFile, document: Document, report: Report) -> None:
    for name, said in facts.node_classes.items():
        if said.host_reserve and said.host_reserve.in_slots and not said.host_reserve.cores:
            at = ("node_classes", name, "host_reserve")
            notes = [Note("it keeps no cores", document.span((*at, "cores")))]
            message = f"the batch system is said to count the host's cores of `{name}`, but the host keeps none"
            place, hint = document.span((*at, "in_slots")), "remove `in_slots`, or say how many cores the host keeps"
            report.add(Code.SLOTS, message, place, notes=notes, help=hint)


# --- times ----------------------------------------------------------------------------------------------------------


def _check_hook_limit(files: Files, report: Report) -> None:
    """The phases end within the time of a hook; without times of their own, `timeouts.boot` bounds them together."""
    limit, said = files.facts.hook_limit, files.facts.timeouts
    if limit is None:
        return
    document = files.document
    phases = said.model_dump(exclude_none=True) if said else {}
    notes = [Note(f"{name}: {print_duration(s)}", document.span(("timeouts", name))) for name, s in phases.items()]
    total, what = sum(phases.values()), "the timeouts of the phases come to"
    if not phases:
        total, notes = _default_boot(files.policy.documents())
        what = "the policy's default of timeouts.boot is"
    if limit < total:
        message = f"a hook may take {print_duration(limit)}, but {what} {print_duration(total)}"
        hint = f"raise the batch system's limit and `hook_limit` to {total}s, or lower the timeouts"
        report.add(Code.HOOK_LIMIT, message, document.span(("hook_limit",)), notes=notes, help=hint)


def _default_boot(layers: Iterable[Document]) -> tuple[int, list[Note]]:
    """The last default wins; one that is no duration is a finding of the policy already."""
    path = ("properties", "timeouts", "properties", "boot", "default")
    for layer in reversed(list(layers)):
        if path in layer.values:
            try:
                return parse_duration(str(value_at(layer.data, path))), [Note("the default is here", layer.span(path))]
            except QuantityError:
                break
    return 0, []


# --- mounts, networks, images -----------------------------------------------------------------------------------------


def _check_mounts(one: tuple[str, SiteMount], other: tuple[str, SiteMount], document: Document, report: Report) -> None:
    (name, first), (later, second) = one, other
    if _within(first.target, second.target) or _within(second.target, first.target):
        where = "at the same place" if first.target == second.target else "one inside the other"
        notes = [Note(f"`{name}` is here", document.span(("mounts", name, "target")))]
        message = f"the mounts `{name}` ({first.target}) and `{later}` ({second.target}) lie {where}"
        hint = "give them targets side by side: a job that asks for both is refused"
        place = document.span(("mounts", later, "target"))
        report.add(Code.MOUNTS_OVERLAP, message, place, notes=notes, help=hint)
    for (ro_name, ro), (rw_name, rw) in ((one, other), (other, one)):
        if (ro.mode, rw.mode) == ("ro", "rw") and _within(ro.source, rw.source):
            notes = [Note(f"`{rw_name}` is here", document.span(("mounts", rw_name, "source")))]
            message = f"`{ro_name}` offers {ro.source} read-only, but `{rw_name}` lets jobs write to {rw.source}"
            hint = f"offer `{rw_name}` read-only too, or move what jobs may write out of it"
            place = document.span(("mounts", ro_name, "source"))
            report.add(Code.READ_ONLY_UNDONE, message, place, notes=notes, help=hint)


def _within(path: str, directory: str) -> bool:
    """Whether `path` is `directory` or lies inside it, as far as the text tells: `$HOME` is only inside itself."""
    return PurePosixPath(path).is_relative_to(directory)


def _check_networks(facts: SiteFile, document: Document, report: Report) -> None:
    for (name, one), (later, other) in combinations(facts.networks.items(), 2):
        if one == other:
            notes = [Note(f"`{name}` is here", document.key_span(("networks", name)))]
            message = f"the networks `{name}` and `{later}` differ in nothing but their names"
            place = document.key_span(("networks", later))
            report.add(Code.NETWORKS_ALIKE, message, place, notes=notes, help="keep one of them")


def _check_images(files: Files, report: Report) -> None:
    for (one, first), (other, second) in combinations(files.images, 2):
        if one.sha256 is not None and one.sha256 == other.sha256:
            notes = [Note(f"`{called(one)}` has it first", first.span(("sha256",)))]
            message = f"the images `{called(one)}` and `{called(other)}` have the same digest"
            hint = "correct the digest, or keep one image and give it `tags` for its other uses"
            report.add(Code.IMAGE_TWICE, message, second.span(("sha256",)), notes=notes, help=hint)
    for image, document in files.images:
        check_packager(image, document, report)
    _check_successors(files, report)


def _check_successors(files: Files, report: Report) -> None:
    entries = by_name(image for image, _ in files.images)
    current = [name for name, (first, *_) in entries.items() if state_of(first, None) == "current"]
    for image, document in files.images:
        others = [name for name in current if name != image.name]
        if image.successor is not None and image.successor not in others:
            message = f"the successor `{image.successor}` is no other current image of the catalogue"
            hint = f"the current ones are {', '.join(others)}" if others else "remove it: no other image is current"
            report.add(Code.IMAGE_SUCCESSOR, message, document.span(("successor",)), help=hint)


# --- the directory ----------------------------------------------------------------------------------------------------


def _check_unread(root: Path, report: Report) -> None:
    """Name the data files that nothing reads, and directories that seem misspelt.

    Hidden files, and what is not YAML or JSON (a README), are left alone. A directory that is no site, or whose policy
    cannot be read, has only its near misses named.
    """
    unreadable = Report()
    used = {Path(document.name) for document in policy_of(root, unreadable).files.values()}
    known = (root / "site.yaml").is_file() and not unreadable.failed
    for path in _unread(root):
        meant = _meant(root, path)
        if path in used or not (meant or known):
            continue
        hint = f"rename it to `{meant}`" if meant else "remove it, or refer to it from policy.yaml by `$ref`"
        message = f"nothing reads the {'directory' if path.is_dir() else 'file'} `{path.relative_to(root)}`"
        place = None if path.is_dir() else Span(str(path), 1, 1, 1, 1)
        report.add(Code.UNREAD_FILE, message, place, help=hint)


def _unread(root: Path) -> Iterator[Path]:
    for path in sorted(root.iterdir()):
        name = path.name
        if name.startswith(".") or (name in READ and name != "images"):
            continue
        if name == "images" and path.is_dir():
            yield from (file for file in sorted(path.iterdir()) if file.suffix in _DATA and file.suffix != ".yaml")
        elif not path.is_dir():
            yield from (file for file in [path] if file.suffix in _DATA)
        elif near_miss(name, READ[2:]):
            yield path
        else:
            yield from (file for file in sorted(path.rglob("*")) if file.suffix in _DATA)


def _meant(root: Path, path: Path) -> str | None:
    """The name that a file or directory should have had: one of those that are read, and is not there."""
    if path.parent.name == "images":
        return f"{path.stem}.yaml"
    if path.parent != root:
        return None
    names = READ[2:] if path.is_dir() else READ[:2]
    missing = {Path(name).stem: name for name in names if not (root / name).exists()}
    meant = near_miss(path.stem, missing)
    return missing[meant] if meant else None
