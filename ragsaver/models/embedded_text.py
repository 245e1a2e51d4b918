"""What is embedded for a chunk, and the name by which caches know it."""

import xxhash


def embedded_hash(model_fingerprint: str, embed_text: str) -> str:
    """The fingerprint of what is embedded."""
    return xxhash.xxh3_128_hexdigest(f"{model_fingerprint}\0{embed_text}".encode())


def embed_texts(text: str, heading: str, title: str) -> tuple[str, ...]:
    """What may have been embedded for a chunk; the chunker leaves out a title that is no document's, or is its heading.

    :param heading: the path to it, or the title where there is none.
    """
    return f"{title} > {heading}\n{text}", f"{heading}\n{text}", text
