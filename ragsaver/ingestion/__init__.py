"""The document's way: source, convert, chunk, hash gate, embed, upsert, commit."""
