"""Model runtimes: onnxruntime and sentence-transformers, tokenizers, and the bundled embedding model."""
