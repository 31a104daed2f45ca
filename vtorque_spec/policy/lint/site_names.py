"""Names in a policy that the site does not have: images and tags of the catalogue, mounts, networks."""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from vtorque_spec.diagnostics import Code, near_miss
from vtorque_spec.document import Path
from vtorque_spec.policy.images import ImageWord, image_word
from vtorque_spec.policy.lint.values import said_values
from vtorque_spec.policy.lint.view import View, members_at
from vtorque_spec.policy.rules import Place
from vtorque_spec.site.catalogue import called
from vtorque_spec.site.image import CatalogueImage
from vtorque_spec.spec.fields import ANY


def check(view: View) -> None:
    """Look at `imageIn`, and at the words of `enum`, `const` and `default` of fields that hold names."""
    names: dict[Path, tuple[str, Iterable[str], Code]] = {
        ("image", "name"): ("image", view.site.images, Code.POLICY_IMAGE),
        ("mounts", ANY, "name"): ("mount", view.site.mounts, Code.POLICY_SITE_NAME),
        ("network", "name"): ("network", view.site.networks, Code.POLICY_SITE_NAME),
    }
    for place in view.own:
        for index, word in enumerate(place.schema.get("imageIn", ())):
            _image(view, place, index, word)
        for field, (what, known, code) in names.items():
            for path, value in _words(place, field):
                if isinstance(value, str) and value not in known:
                    _unknown(view, code, f"the site has no {what} `{value}`", known, value, place, path)


def _words(place: Place, field: Path) -> Iterable[tuple[Path, Any]]:
    """Yield what a subschema says that a field is, in whichever mapping it stands."""
    if place.field == field:
        yield from said_values(place)
    here = place.field or ()
    if here and here == field[: len(here)] and "default" in place.schema:
        for path, value in members_at(place.schema["default"], field[len(here) :]):
            yield (*place.path, "default", *path), value


def _image(view: View, place: Place, index: int, word: str) -> None:
    images, path = view.site.images, (*place.path, "imageIn", index)
    if word.startswith("tag="):
        entries = (image for name in images for image in view.site.revisions(name))
        tags = sorted({tag for image in entries for tag in image.tags or ()})
        if word.removeprefix("tag=") not in tags:
            words = [f"tag={tag}" for tag in tags]
            _unknown(view, Code.POLICY_IMAGE, f"no image has the tag `{word[4:]}`", words, word, place, path)
        return
    wanted = image_word(word)
    named = [name for name in images if fnmatchcase(name, wanted.name)]
    if not named:
        pattern = any(char in wanted.name for char in "*?[")
        message = f"no image matches `{wanted.name}`" if pattern else f"the catalogue has no image `{wanted.name}`"
        _unknown(view, Code.POLICY_IMAGE, message, images, wanted.name, place, path)
    elif not any(_has(image, wanted) for name in named for image in view.site.revisions(name)):
        known = [called(image) for name in named for image in view.site.revisions(name) if image.revision]
        _unknown(view, Code.POLICY_IMAGE, f"no revision of an image matches `{word}`", known, word, place, path)


def _has(image: CatalogueImage, wanted: ImageWord) -> bool:
    """Whether a job could pin it so; what is not built yet may come to have any digest."""
    revision = wanted.revision is None or (image.revision is not None and fnmatchcase(image.revision, wanted.revision))
    return revision and (wanted.sha256 is None or image.sha256 is None or fnmatchcase(image.sha256, wanted.sha256))


def _unknown(
    view: View, code: Code, message: str, known: Iterable[str] | Mapping[str, Any], word: str, place: Place, path: Path
) -> None:
    names = sorted(known)
    meant = near_miss(word, names)
    hint = f"write `{meant}`" if meant else f"the site has {', '.join(names)}" if names else None
    if hint is None and word.startswith("tag="):
        hint = f"add `tags: [{word.removeprefix('tag=')}]` to the images that are meant"
    elif hint is None and "@sha256:" in word:
        hint = "write the digest of an image: vtorque image show"
    elif hint is None and ":" in word:
        hint = "add `revision: ...` to the images that are meant"
    view.add(code, message, place.document.span(path), hint)
