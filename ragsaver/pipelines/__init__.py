"""The shipped pipelines, and how they are loaded, checked and run."""
