"""How documents are read, cut and outlined, and from where they may come."""

from pydantic import Field, field_validator

from ragsaver.settings.section import Section


class ChunkingSettings(Section):
    """How documents are cut. A change of any of these re-chunks the corpus."""

    min_words: int = Field(default=40, ge=1, le=10_000, description="two cuts of a section are no nearer than this")
    max_words: int = Field(default=300, ge=2, le=20_000, description="that a chunk never exceeds")
    embed_headings: bool = Field(default=True, description="put the heading path in front of the embedded text")


class IngestionSettings(Section):
    """Limits on what one document may cost."""

    max_file_mb: int = Field(default=50, ge=1, le=10_000, description="larger files are reported, not read")
    max_pdf_pages: int = Field(default=2000, ge=1, description="longer ones are reported, not read")
    max_decompressed_mb: int = Field(
        default=200,
        ge=1,
        le=100_000,
        description="that an Office file, or one stream of a PDF, may unpack to; larger ones are refused",
    )
    max_compression_ratio: int = Field(
        default=100,
        ge=2,
        le=100_000,
        description="unpacked size of an Office file over its size; above it, it is refused",
    )
    convert_timeout_s: float = Field(default=60.0, gt=0, le=86_400, description="after which one file is given up")
    convert_memory_mb: int = Field(
        default=1024, ge=128, le=1_048_576, description="that a process may take to read one file"
    )
    convert_workers: int = Field(
        default=0,
        ge=0,
        le=1024,
        description="processes that read files at most, one unless it does not keep up; 0 takes as many as there are "
        "idle cores for",
    )
    batch_chunks: int = Field(
        default=0,
        ge=0,
        le=100_000,
        description="chunks embedded and committed at a time; 0 takes 256, and up to 1,024 where that is quickly done",
    )


class OutlineSettings(Section):
    """Each document's headings, with the sentence that stands for each section, or a language model's summary of it."""

    budget_tokens: int = Field(
        default=0,
        ge=0,
        le=1_000_000,
        description="of an outline that is shown as text; the deepest lines are left out first; 0 shows all of it",
    )
    summary_model: str | None = Field(
        default=None, description="one of `generation.models`, by name, that summarises sections; none costs nothing"
    )
    summary_min_words: int = Field(
        default=150, ge=1, le=1_000_000, description="shorter sections keep their most central sentence"
    )
    summary_max_words: int = Field(
        default=3000, ge=1, le=1_000_000, description="of a longer section the model reads no more than this"
    )
    summary_max_tokens: int = Field(default=120, ge=16, le=4096, description="that the model may answer")
    summary_concurrency: int = Field(default=4, ge=1, le=256, description="sections that are asked for at a time")
    summary_attempts: int = Field(
        default=3, ge=1, le=10, description="at one section, in place of the model's `max_retries`"
    )
    summary_deadline_s: float = Field(
        default=60.0, gt=0, le=3600, description="for all attempts at one section; then its central sentence stays"
    )
    summary_cache_mb: int = Field(
        default=64, ge=1, le=100_000, description="of kept summaries; what was used longest ago goes first"
    )


class AccessRule(Section):
    """Whom the documents of some places are for. Of several rules that match one the last decides."""

    glob: str = Field(
        description="which documents, as in a `.gitignore`: compared with the end of their places, or with all of it "
        "if it begins with a slash or a scheme",
    )
    groups: list[str] = Field(min_length=1, description="that may read them, and nobody else")

    @field_validator("glob")
    @classmethod
    def _a_pattern(cls, glob: str) -> str:
        if not glob.strip() or glob != glob.strip():
            raise ValueError("must be a pattern, without spaces around it")
        if glob.startswith(("!", "#")):
            raise ValueError("takes no `!` or `#` in front: write a rule for what it leaves out below the one for all")
        from pathspec import GitIgnoreSpec  # where it is used: most projects have no rules

        try:
            (made,) = GitIgnoreSpec.from_lines([glob]).patterns
        except ValueError as error:
            raise ValueError(f"must be a pattern as in a .gitignore file: {error}") from None
        if made.include is None:
            raise ValueError("must be a pattern that matches something")
        return glob

    @field_validator("groups")
    @classmethod
    def _names(cls, groups: list[str]) -> list[str]:
        if not all(one.strip() for one in groups):
            raise ValueError("must be names of groups; a document that no rule means is everybody's")
        return groups


class SourcesSettings(Section):
    """Where documents may come from, besides files."""

    allow_private_addresses: bool = Field(
        default=False, description="fetch pages from addresses that are not public too, your intranet's for example"
    )
    timeout_s: float = Field(default=30.0, gt=0, le=3600, description="for one page, redirects and body together")
    sitemap_max_pages: int = Field(
        default=10_000, ge=1, le=1_000_000, description="of one sitemap; what is beyond is reported, not read"
    )
    watch_debounce_ms: int = Field(
        default=1600, ge=1, le=3_600_000, description="changes within this time are taken together"
    )
    access: list[AccessRule] = Field(
        default_factory=list, description="who may read what; what no rule means is everybody's of the tenant"
    )
