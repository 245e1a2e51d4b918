"""Model runtimes: ONNX sessions, tokenizers, and the bundled embedding model."""
