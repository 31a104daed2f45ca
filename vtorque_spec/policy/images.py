"""The words of `imageIn`: names, patterns and tags, and what a job must pin.

`debian-*` is any image whose name fits, pinned or not; `*:2026-*` one with a pinned revision that fits;
`*@sha256:*` one with a pinned digest; `tag=cfd` one whose entry in the catalogue, the pinned one, has that tag.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from vtorque_spec.site import Site
from vtorque_spec.site.catalogue import pinned, state_of

_WORD = re.compile(r"([^:@]*)(?::(.*)|@sha256:(.*))?")


@dataclass(frozen=True, slots=True)
class ImageWord:
    """A word in its parts, each a pattern; None: whatever stands there."""

    name: str
    revision: str | None
    sha256: str | None

    @property
    def pins(self) -> bool:
        """Whether it fits pinned images alone."""
        return self.revision is not None or self.sha256 is not None


def image_word(word: str) -> ImageWord:
    """Split a word that is no tag and has the form that the policy's language wants."""
    parts = _WORD.fullmatch(word)
    return ImageWord(parts[1], parts[2], parts[3]) if parts else ImageWord(word, None, None)


@dataclass(frozen=True, slots=True)
class AllowedImages:
    """The words of an `imageIn`, at a site."""

    words: tuple[str, ...]
    site: Site

    def allow(self, image: Mapping[str, str | None]) -> bool:
        """Return whether a job's image, with its members `name`, `revision` and `sha256`, is one of them.

        A user's own image, whose name is the user's choice, is none.
        """
        return "disk" not in image and any(self._fits(word, image) for word in self.words)

    def told(self) -> list[str]:
        """Return the words for those who write jobs, with the images' names in the place of tags."""
        return list(dict.fromkeys(name for word in self.words for name in self._names(word)))

    def _names(self, word: str) -> list[str]:
        tag = word.removeprefix("tag=")
        return [word] if tag == word else sorted(name for name in self.site.images if self._has_tag(tag, name))

    def _has_tag(self, tag: str, name: str) -> bool:
        return any(tag in (entry.tags or ()) for entry in self.site.revisions(name))

    def _fits(self, word: str, image: Mapping[str, str | None]) -> bool:
        name, revision, sha256 = str(image.get("name")), image.get("revision"), image.get("sha256")
        if word.startswith("tag="):
            entry = pinned(self.site.revisions(name), revision, sha256)
            return entry is not None and word.removeprefix("tag=") in (entry.tags or ())
        wanted = image_word(word)
        return (
            fnmatchcase(name, wanted.name) and _matches(revision, wanted.revision) and _matches(sha256, wanted.sha256)
        )


def _matches(pin: str | None, pattern: str | None) -> bool:
    return pattern is None or (pin is not None and fnmatchcase(pin, pattern))


def spellings(name: str, site: Site) -> Iterator[dict[str, str]]:
    """Yield the ways in which a job can have an image: unpinned, by each revision and each digest, and by both."""
    entries = [entry for entry in site.revisions(name) if state_of(entry, site.today) != "withdrawn"]
    if name in site.offered():
        yield {"name": name}
    for pins in (("revision",), ("sha256",), ("revision", "sha256")):
        said = ({pin: getattr(entry, pin) for pin in pins} for entry in entries)
        yield from ({"name": name, **pinned_by} for pinned_by in said if all(pinned_by.values()))
