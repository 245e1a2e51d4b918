"""Which reranker do the settings mean? MaxSim is at hand; of the others only what that one needs is imported."""

from pathlib import Path

from ragsaver.models.protocol import Encoder
from ragsaver.models.rerankers.maxsim import MaxSimReranker, TokenStore
from ragsaver.models.rerankers.protocol import Reranker
from ragsaver.settings import EmbeddingSettings, RerankSettings


def open_maxsim(
    settings: RerankSettings,
    embedding: EmbeddingSettings,
    encoder: Encoder,
    *,
    store: TokenStore | None = None,
) -> MaxSimReranker:
    """MaxSim over the embedding model, whichever reranker the settings name.

    :param store: where else what was read of passages may be.
    """
    return MaxSimReranker(encoder, cache_mb=settings.cache_mb, query_batch=embedding.query_batch, store=store)


def open_reranker(settings: RerankSettings, embedding: EmbeddingSettings, encoder: Encoder) -> Reranker:
    """The reranker that the settings name; a model of its own is loaded when it is first needed.

    :param embedding: how the embedding model is run: on the same device, with as many threads.
    :param encoder: the embedding model, for MaxSim.
    :raises SettingsError: if they name none that is there.
    """
    if settings.backend == "maxsim":
        return open_maxsim(settings, embedding, encoder)
    if settings.backend == "remote":
        from ragsaver.models.rerankers.remote import RemoteReranker

        key = settings.api_key.get_secret_value() if settings.api_key else None
        return RemoteReranker(str(settings.url), api_key=key, model=settings.model)
    model = str(settings.model)
    if settings.backend == "onnx":
        from ragsaver.models.rerankers.cross_encoder import OnnxCrossEncoder

        return OnnxCrossEncoder(
            Path(model).expanduser(),
            device=embedding.device,
            threads=embedding.threads,
            max_tokens=settings.max_tokens,
        )
    from ragsaver.models.rerankers.torch_cross_encoder import TorchCrossEncoder

    return TorchCrossEncoder(model, device=embedding.device, max_tokens=settings.max_tokens)
