"""The stores of both kinds, for tests that need no catalog."""

from tests.store.conftest import name, store

__all__ = ["name", "store"]
