"""Learners: ``init`` and ``update`` as pure functions, one folder per system."""
