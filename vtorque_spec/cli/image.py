"""`vtorque image ...`: the images of a site and of this machine; one module per command, imported when it is called."""

from vtorque_spec.cli.lazy import lazy_group

COMMANDS = {
    "list": "List the catalogue's images, and which of them this machine has.",
    "show": "Show all that is known of an image.",
    "add": "Take an image into the store and into the catalogue.",
    "update": "Add a new revision of an image, or change what the catalogue says of one.",
    "remove": "Take an image, or a revision of it, out of the store and the catalogue.",
    "verify": "Read images of this machine again and compare them with their digests.",
    "build": "Build an image by its shipped recipe.",
    "prefetch": "Copy images from the store to this node, before jobs wait for that.",
}

HELP = """List, add, build and remove guest images.

\b
vtorque image list
sudo vtorque image build debian-12
"""

command = lazy_group("image", "vtorque_spec.cli.image_{}", COMMANDS, HELP)
