"""Who may ask: API keys, and in whose name each of them asks."""
