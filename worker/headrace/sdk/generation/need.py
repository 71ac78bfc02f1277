"""What a causal language model asks of attention, read from its configuration before its weights are."""

from headrace.sdk.attention import AttentionNeed
from headrace.sdk.generation.model import head_dim_of, unsupported
from headrace.sdk.weights import WeightSource


def need_of(weights: WeightSource | None) -> AttentionNeed:
    """What a model needs, as far as it is known: nothing is fetched for it.

    Args:
        weights: The model's.
    """
    folder = weights.find() if weights else None
    if folder is None:
        return AttentionNeed(layout="paged")
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False).get_text_config()
    return AttentionNeed(
        layout="paged", head_dim=head_dim_of(config), has_windows=bool(unsupported(config, plain=True))
    )
