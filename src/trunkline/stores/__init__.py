"""The stores: where the entries of turns rest."""

from __future__ import annotations

from trunkline.stores.memory import MemoryStore

STORES = {"memory": MemoryStore}
