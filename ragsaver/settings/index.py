"""Where vectors and words are looked for."""

from typing import Literal

from pydantic import Field, SecretStr, field_validator

from ragsaver.settings.section import NAME, Section

LOCAL = "file:"


class IndexSettings(Section):
    """The vector and lexical index: in the process that owns it, or in a Qdrant server that all share."""

    engine: Literal["edge", "qdrant"] = Field(
        default="edge", description="`edge` is embedded; `qdrant` is a server, and needs the extra `qdrant`"
    )
    url: str | None = Field(
        default=None,
        description="of the Qdrant server: http://HOST:6333; `file:FOLDER` is its client's local mode, for trying it "
        "out; default: the variable QDRANT_URL",
    )
    api_key: SecretStr | None = Field(default=None, description="of the server; default: the variable QDRANT_API_KEY")
    grpc_port: int | None = Field(
        default=6334, ge=1, le=65_535, description="of the server; null speaks REST only, at the URL's port"
    )
    collection: str = Field(
        default="ragsaver",
        pattern=NAME,
        description="the server's collection that holds all tenants; projects that share a server need one each",
    )
    shards: int | None = Field(
        default=None, ge=1, le=4096, description="of a new collection at the server; null lets the server decide"
    )
    replicas: int = Field(
        default=1,
        ge=1,
        le=64,
        description="of each shard of a new collection; a write is answered when most of them have it",
    )
    on_disk: bool = Field(
        default=False, description="a new collection's vectors are read from the server's disk, not kept in its memory"
    )
    quantization: Literal["none", "int8", "binary", "product", "turbo"] = Field(
        default="none",
        description="smaller copies of the vectors to search in: a new collection at the server has them, the embedded "
        "index after its next optimisation",
    )
    oversampling: float = Field(
        default=2.0,
        ge=1,
        le=100,
        description="with quantisation: so many times as many candidates are compared again by their whole vectors",
    )
    timeout_s: float = Field(default=10.0, gt=0, le=3600, description="for one request to the server")
    deadline_s: float = Field(
        default=30.0, gt=0, le=3600, description="after which a request that failed is not made again"
    )
    keep_replaced_s: float = Field(
        default=600.0,
        ge=0,
        le=30 * 86_400,
        description="for which a server keeps the collection that a migration has replaced: processes that have not "
        "noticed it yet go on asking that one",
    )
    language: str = Field(default="english", description="stemming and stop words of BM25")
    bm25_avg_words: float = Field(default=100.0, gt=0, description="mean chunk length that BM25 normalises by")
    bm25_k1: float = Field(default=1.2, gt=0, le=10, description="how much more BM25 gives to a word that is repeated")
    bm25_b: float = Field(
        default=0.75, ge=0, le=1, description="how much BM25 holds a chunk's length against it; 0 not at all"
    )
    optimize_after_points: int = Field(
        default=10_000,
        ge=1,
        description="writes after which the embedded index is optimised, if they are a quarter of its points too",
    )
    tenant_idf: bool = Field(
        default=True,
        description="word statistics of the tenant only, never of the others; a server must be Qdrant 1.19",
    )

    @field_validator("url")
    @classmethod
    def _only_qdrant(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("http://", "https://", LOCAL)):
            raise ValueError("must begin with http://, https:// or file:")
        return url

    @property
    def shared(self) -> bool:
        """Whether several processes may have the index open, so that none owns it."""
        return self.engine == "qdrant" and not (self.url or "").startswith(LOCAL)

    def of_generation(self, name: str) -> "IndexSettings":
        """These, for the collection of points that a migration has built; in local mode it has a folder of its own, so
        that another process can build it."""
        if self.url is not None and self.url.startswith(LOCAL):
            return self.model_copy(update={"url": f"{self.url.rstrip('/')}-{name}"})
        return self.model_copy(update={"collection": f"{self.collection}_{name}"})
