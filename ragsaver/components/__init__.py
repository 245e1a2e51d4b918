"""Haystack components, one idea a file."""
