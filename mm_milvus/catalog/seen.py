"""Which ids were used already: a hash table of 128 bits per id in one block of memory."""

from __future__ import annotations

from hashlib import blake2b

__all__ = ["SeenIds"]

_WIDTH = 16  # bytes of a hash: two of 10**9 ids collide with a probability below 10**-20
_EMPTY = bytes(_WIDTH)


class SeenIds:
    """A set of ids that takes 20 to 40 bytes each (a Python set of strings takes 120 and more)."""

    def __init__(self) -> None:
        self._slots = 1024
        self._count = 0
        self._table = bytearray(self._slots * _WIDTH)

    def __len__(self) -> int:
        return self._count

    def __contains__(self, name: str) -> bool:
        return self._find(_digest(name))[1]

    def add(self, name: str) -> bool:
        """True when the id is new, False when it was added before."""
        if not self._insert(_digest(name)):
            return False
        self._count += 1
        if self._count * 5 > self._slots * 4:
            self._grow()
        return True

    def _insert(self, digest: bytes) -> bool:
        start, known = self._find(digest)
        self._table[start : start + _WIDTH] = digest
        return not known

    def _find(self, digest: bytes) -> tuple[int, bool]:
        """Where the hash is, or where it belongs; and whether it is there."""
        slot = int.from_bytes(digest[:8], "little") % self._slots
        while True:
            start = slot * _WIDTH
            found = self._table[start : start + _WIDTH]
            if found in (digest, _EMPTY):
                return start, found == digest
            slot = (slot + 1) % self._slots

    def _grow(self) -> None:
        old = self._table
        self._slots *= 2
        self._table = bytearray(self._slots * _WIDTH)
        for start in range(0, len(old), _WIDTH):
            digest = bytes(old[start : start + _WIDTH])
            if digest != _EMPTY:
                self._insert(digest)


def _digest(name: str) -> bytes:
    return blake2b(name.encode(), digest_size=_WIDTH).digest()
