"""One typed tree of settings with its defaults; `settings_file` lays the project's own values over them."""

from ragsaver.settings.chat_generator import OUTPUT_LIMITS, ChatGeneratorSettings
from ragsaver.settings.embedding import EmbeddingCacheSettings, EmbeddingSettings
from ragsaver.settings.fleet import DatabaseSettings, QueueSettings, ScalingSettings
from ragsaver.settings.generation import (
    AUTO_TOKENIZER,
    FREE_TIER,
    SHIPPED_TOKENIZER,
    ConversationSettings,
    GenerationSettings,
    ModelSettings,
)
from ragsaver.settings.index import LOCAL, IndexSettings
from ragsaver.settings.ingestion import (
    AccessRule,
    ChunkingSettings,
    IngestionSettings,
    OutlineSettings,
    SourcesSettings,
)
from ragsaver.settings.lifecycle import LifecycleSettings, QuotaSettings, RetentionSettings
from ragsaver.settings.process import environment, quiet_haystack, usable_cores
from ragsaver.settings.retrieval import ContextSettings, RerankSettings, RetrievalSettings
from ragsaver.settings.serving import CacheSettings, LoggingSettings, QuerySettings, ServerSettings
from ragsaver.settings.spend import (
    BudgetSettings,
    FuseSettings,
    PacingSettings,
    PriceSettings,
    SpendSettings,
    usd_per_mtok,
)
from ragsaver.settings.tree import Settings
from ragsaver.settings.urls import is_postgres, is_redis

__all__ = [
    "AUTO_TOKENIZER",
    "FREE_TIER",
    "LOCAL",
    "OUTPUT_LIMITS",
    "SHIPPED_TOKENIZER",
    "AccessRule",
    "BudgetSettings",
    "CacheSettings",
    "ChatGeneratorSettings",
    "ChunkingSettings",
    "ContextSettings",
    "ConversationSettings",
    "DatabaseSettings",
    "EmbeddingCacheSettings",
    "EmbeddingSettings",
    "FuseSettings",
    "GenerationSettings",
    "IndexSettings",
    "IngestionSettings",
    "LifecycleSettings",
    "LoggingSettings",
    "ModelSettings",
    "OutlineSettings",
    "PacingSettings",
    "PriceSettings",
    "QuerySettings",
    "QueueSettings",
    "QuotaSettings",
    "RerankSettings",
    "RetentionSettings",
    "RetrievalSettings",
    "ScalingSettings",
    "ServerSettings",
    "Settings",
    "SourcesSettings",
    "SpendSettings",
    "environment",
    "is_postgres",
    "is_redis",
    "quiet_haystack",
    "usable_cores",
    "usd_per_mtok",
]
