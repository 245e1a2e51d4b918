"""Models that look at a question and a passage together: late interaction, cross-encoders, a server's."""
