"""How the graph of vectors is searched, alike in every engine."""

# So many of its points are kept in view on the way to the nearest. With the engine's own 100, vectors in many small
# clusters are missed: recall@10 was 0.97 of 100,000, and is 0.99 (benchmarks/index.py).
HNSW_EF = 256
