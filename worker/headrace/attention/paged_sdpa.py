"""PagedSdpaAttention: torch's own attention over a paged cache, sequence by sequence."""

from headrace.sdk.attention import PagedAttention
from headrace.sdk.generation.attention import NAME


class PagedSdpaAttention(PagedAttention):
    """Runs wherever torch does; `headrace.sdk.generation.attention` has registered it."""

    name = "paged|sdpa"
    implementation = NAME
