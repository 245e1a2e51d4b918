"""What is written down of requests: one line each, and what was said in them by policy; secrets never."""
