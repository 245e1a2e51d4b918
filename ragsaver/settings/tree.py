"""The whole tree."""

from pathlib import Path

from pydantic import Field, field_validator

from ragsaver.settings.embedding import EmbeddingCacheSettings, EmbeddingSettings
from ragsaver.settings.fleet import DatabaseSettings, QueueSettings
from ragsaver.settings.generation import GenerationSettings
from ragsaver.settings.index import IndexSettings
from ragsaver.settings.ingestion import ChunkingSettings, IngestionSettings, OutlineSettings, SourcesSettings
from ragsaver.settings.lifecycle import LifecycleSettings
from ragsaver.settings.retrieval import ContextSettings, RerankSettings, RetrievalSettings
from ragsaver.settings.section import NAME, Section, named_place
from ragsaver.settings.serving import CacheSettings, LoggingSettings, QuerySettings, ServerSettings
from ragsaver.settings.spend import SpendSettings


class Settings(Section):
    """The whole tree."""

    home: Path = Field(default=Path(".ragsaver"), description="all state lives here")
    pipelines_dir: Path = Field(default=Path("pipelines"), description="the project's own YAML")
    tenant: str = Field(default="default", pattern=NAME, description="whose documents commands work on")
    collection: str = Field(default="default", pattern=NAME, description="where commands look if none is named")
    groups: list[str] = Field(
        default_factory=list, description="that questions are asked in the name of: what names others is not found"
    )
    allow_modules: list[str] = Field(
        default_factory=list, description="modules of your own whose components a pipeline may load"
    )
    embedding: EmbeddingSettings = EmbeddingSettings()
    embedding_cache: EmbeddingCacheSettings = EmbeddingCacheSettings()
    chunking: ChunkingSettings = ChunkingSettings()
    ingestion: IngestionSettings = IngestionSettings()
    outline: OutlineSettings = OutlineSettings()
    lifecycle: LifecycleSettings = LifecycleSettings()
    queue: QueueSettings = QueueSettings()
    database: DatabaseSettings = DatabaseSettings()
    sources: SourcesSettings = SourcesSettings()
    index: IndexSettings = IndexSettings()
    retrieval: RetrievalSettings = RetrievalSettings()
    rerank: RerankSettings = RerankSettings()
    context: ContextSettings = ContextSettings()
    generation: GenerationSettings = GenerationSettings()
    spend: SpendSettings = SpendSettings()
    query: QuerySettings = QuerySettings()
    cache: CacheSettings = CacheSettings()
    server: ServerSettings = ServerSettings()
    logging: LoggingSettings = LoggingSettings()

    _no_empty_place = field_validator("home", "pipelines_dir", mode="before")(named_place)
