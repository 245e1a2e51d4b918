"""Prices, receipts and baselines: pure money, without HTTP and without Haystack."""
