"""`python -m headrace.sdk.gguf FILE FOLDER`: a GGUF file's model and tokenizer, as safetensors in bfloat16."""

import sys
from pathlib import Path


def convert(file: Path, folder: Path) -> None:
    """Convert; needs transformers, accelerate and gguf."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    model = AutoModelForCausalLM.from_pretrained(
        file.parent,
        gguf_file=file.name,
        dtype=torch.bfloat16,
        quantization_config=GgufConfig(gguf_file=file.name, dequantize=True),
        local_files_only=True,
    )
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name, local_files_only=True).save_pretrained(folder)


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
