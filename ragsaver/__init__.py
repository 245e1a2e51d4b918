"""RAGSaver: cost-aware retrieval-augmented generation on Haystack pipelines."""

__version__ = "0.1.0"
