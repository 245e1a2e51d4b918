"""The vector and lexical index: one small protocol, and the engines that keep it."""
