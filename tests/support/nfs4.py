"""A client of NFS 4.0 that says what it likes (RFC 7530): it reads by a file handle that no server gave it."""

import ctypes
import os
import socket
import struct
from pathlib import Path

_NFS, _VERSION, _COMPOUND, _AUTH_NONE, _AUTH_SYS = 100003, 4, 1, 0, 1
_GETFH, _LOOKUP, _PUTFH, _PUTROOTFH, _READ, _READDIR = 10, 15, 22, 24, 25, 26
_ANONYMOUS = bytes(16)
"""A stateid that asks for no open file (RFC 7530, section 9.1.4.3)."""
_AT_FDCWD = -100
_HANDLE_BYTES = 128


def opaque(value: bytes) -> bytes:
    return struct.pack(">I", len(value)) + value + bytes(-len(value) % 4)


def compound(address: str, *operations: bytes) -> tuple[int, bytes]:
    """Return the status and the last result, all after its own status, of operations in one request."""
    root = struct.pack(">I", 0) + opaque(b"") + struct.pack(">III", 0, 0, 0)
    credentials = struct.pack(">I", _AUTH_SYS) + opaque(root) + struct.pack(">II", _AUTH_NONE, 0)
    call = struct.pack(">IIIIII", 1, 0, 2, _NFS, _VERSION, _COMPOUND) + credentials
    call += opaque(b"") + struct.pack(">II", 0, len(operations)) + b"".join(operations)
    with socket.create_connection((address, 2049), 10) as server:
        server.sendall(struct.pack(">I", 1 << 31 | len(call)) + call)
        answer = _read(server, _number(_read(server, 4)) & ~(1 << 31))
    status, tag = struct.unpack(">II", answer[24:32])
    return status, answer[32 + tag + -tag % 4 :]


def root_handle(address: str, export: str) -> bytes:
    """Return the handle of an export, as the server gives it out."""
    lookup = struct.pack(">I", _LOOKUP) + opaque(export.encode())
    status, results = compound(address, struct.pack(">I", _PUTROOTFH), lookup, struct.pack(">I", _GETFH))
    assert status == 0, status
    size = _number(results[28:32])  # after the number of results, and three operations with their statuses
    return results[32 : 32 + size]


def read(address: str, handle: bytes) -> bytes | int:
    """Return what the file with that handle has, or why the server does not tell."""
    read = struct.pack(">I", _READ) + _ANONYMOUS + struct.pack(">QI", 0, 4096)
    status, results = compound(address, struct.pack(">I", _PUTFH) + opaque(handle), read)
    return results[28 : 28 + _number(results[24:28])] if status == 0 else status


def names(address: str, handle: bytes) -> bytes | int:
    """Return the answer with the names in that directory, or why the server does not tell."""
    read = struct.pack(">I", _READDIR) + struct.pack(">QQIII", 0, 0, 4096, 4096, 0)
    status, results = compound(address, struct.pack(">I", _PUTFH) + opaque(handle), read)
    return results if status == 0 else status


def kernel_handle(path: Path) -> bytes:
    """Return what the kernel knows the file by (open_by_handle_at(2))."""
    buffer = ctypes.create_string_buffer(struct.pack("=Ii", _HANDLE_BYTES, 0), 8 + _HANDLE_BYTES)
    mount_id = ctypes.c_int()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.name_to_handle_at(_AT_FDCWD, os.fsencode(path), buffer, ctypes.byref(mount_id), 0):
        raise OSError(ctypes.get_errno(), "name_to_handle_at")
    return buffer.raw[8 : 8 + struct.unpack_from("=I", buffer)[0]]


def _read(server: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size and (part := server.recv(size - len(found))):
        found += part
    return found


def _number(word: bytes) -> int:
    return int(struct.unpack(">I", word)[0])
