"""What does it take to keep vectors on disk, by how many are kept already? JSON on the last line.

Rows that stand as they came, which is how the cache keeps them, beside a tree of whole rows in the order of their names
(`WITHOUT ROWID`): each fills up with the same vectors, in batches as ingestion gives them. Names are digests, so each
lands anywhere in the order.
"""

import argparse
import json
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa

from ragsaver.caching.embeddings import SqliteEmbeddingCache
from ragsaver.collecting import collect_seldom

BATCH, DIM, STEPS = 800, 384, 4
_TREE = (
    "CREATE TABLE embeddings (partition VARCHAR NOT NULL, hash BLOB NOT NULL, vector BLOB NOT NULL, "
    "used_at FLOAT NOT NULL, PRIMARY KEY (partition, hash)) WITHOUT ROWID"
)


def main() -> None:
    """Fill both."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--vectors", type=int, default=400_000)
    arguments.add_argument("--out", type=Path)
    given = arguments.parse_args()
    collect_seldom()
    kept, tree = (filled(given.vectors, as_tree=one) for one in (False, True))
    result = {
        "vectors": given.vectors,
        "dim": DIM,
        "rows_as_they_came": kept,
        "tree_of_rows": tree,
        "written_less": round(tree["written_mb"] / kept["written_mb"], 1),
        "cpu_less_at_the_end": round(tree["cpu_s_per_1000"][-1] / kept["cpu_s_per_1000"][-1], 1),
        "ok": kept["written_mb"] < tree["written_mb"] and kept["file_mb"] < tree["file_mb"],
    }
    if given.out:
        given.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))


def filled(vectors: int, *, as_tree: bool) -> dict[str, Any]:
    """Seconds of the processor for a thousand vectors in each quarter of the way, and MB on and to the disk."""
    dice, some = random.Random(1), np.random.default_rng(1).standard_normal((BATCH, DIM)).astype(np.float32)
    batches = vectors // BATCH
    cpu_s: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        cache = SqliteEmbeddingCache(Path(folder) / "cache.sqlite", 1 << 40)
        if as_tree:
            with cache._file.writing() as connection:
                connection.execute(sa.text("DROP TABLE embeddings"))
                connection.execute(sa.text(_TREE))
                connection.execute(sa.text("CREATE INDEX used ON embeddings (used_at)"))
        before = written_bytes()
        for quarter in quarters(batches):
            started = time.process_time()
            for _ in quarter:
                names = [dice.randbytes(16).hex() for _ in range(BATCH)]
                cache.get("tenant", names)
                cache.put("tenant", dict(zip(names, some, strict=True)))
            cpu_s.append(round((time.process_time() - started) / len(quarter) / BATCH * 1000, 4))
        cache.close()
        written = written_bytes() - before
        file_bytes = sum(file.stat().st_size for file in Path(folder).iterdir())
    return {"cpu_s_per_1000": cpu_s, "written_mb": written >> 20, "file_mb": file_bytes >> 20}


def quarters(batches: int) -> Iterator[range]:
    """The way in equal parts."""
    for n in range(STEPS):
        yield range(batches * n // STEPS, batches * (n + 1) // STEPS)


def written_bytes() -> int:
    """That this process has sent to the disk so far; Linux counts them."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("write_bytes")).split()[1])


if __name__ == "__main__":
    main()
