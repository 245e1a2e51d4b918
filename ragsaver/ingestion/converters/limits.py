"""How much may one file ask for before it is refused?"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ConversionLimits:
    """Limits on one document; each is a setting of `ingestion` with the same name."""

    max_pdf_pages: int = 2000
    max_decompressed_mb: int = 200
    max_compression_ratio: int = 100
