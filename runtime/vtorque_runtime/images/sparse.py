"""What of a file is data: a copy has holes where its source has them, so that it takes no more room."""

from collections.abc import Iterator

_BLOCK_BYTES = 4096
"""Of a file system: what one of its files takes of the disk is a multiple of that."""
_ZEROS = bytes(_BLOCK_BYTES)


def data_runs(chunk: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the parts of `chunk`, each with its place there, that blocks of nothing but zeros divide.

    In larger steps a file of a few MiB could come to as many GiB.
    """
    start = None
    for at in range(0, len(chunk), _BLOCK_BYTES):
        if chunk.startswith(_ZEROS, at):
            if start is not None:
                yield start, chunk[start:at]
            start = None
        elif start is None:
            start = at
    if start is not None:
        yield start, chunk[start:]
