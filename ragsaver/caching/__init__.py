"""Caches, and what invalidates them."""
