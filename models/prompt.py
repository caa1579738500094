"""The fixed restoration prompt, embedded once by FLUX.2-klein's text encoder and stored.

In: a text encoder and a tokenizer in diffusers' layout (Qwen3). Out: safetensors with `prompt` and `empty`, each
[text tokens, D_text]: three hidden layers side by side, as diffusers' klein pipeline makes them. With this file at hand
neither training nor restoring needs the text encoder in memory.
"""

import os

import torch
from diffusers import Flux2KleinPipeline
from transformers import AutoModelForCausalLM, AutoTokenizer

from anchorface.models.backbone import TextMemory
from anchorface.models.configuration import BackboneSettings
from anchorface.models.weights import save
from anchorface.records import CheckpointError

RESTORATION_PROMPT = (
    "Restore this photograph of a face to a sharp, clean, high-quality portrait with natural skin and fine facial "
    "detail. Keep the person's identity, head pose, facial structure, expression, hair and lighting as they are."
)
"""Our wording: the paper prints its own only inside a figure."""


def embed_prompts(text_encoder: str | os.PathLike[str], tokenizer: str | os.PathLike[str], settings: BackboneSettings,
                  prompt: str = RESTORATION_PROMPT, dtype: torch.dtype = torch.bfloat16,
                  device: str = "cpu") -> TextMemory:
    """Embed the prompt and the empty prompt.

    Args:
        text_encoder, tokenizer: local folders; nothing is downloaded and no code from them is run.
        settings: the backbone that the embeddings are for; its text_tokens is their length.
        dtype: that the encoder computes in.

    Returns:
        Both embeddings, float32.

    Raises:
        CheckpointError: a folder that is none, or embeddings of another width than the backbone takes.
    """
    try:
        words = AutoTokenizer.from_pretrained(tokenizer, local_files_only=True,
                                              trust_remote_code=False)
        encoder = AutoModelForCausalLM.from_pretrained(text_encoder, local_files_only=True, trust_remote_code=False,
                                                       use_safetensors=True, dtype=dtype).to(device).eval()
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{text_encoder}, {tokenizer}: not a text encoder with its tokenizer: {error}") from error
    with torch.inference_mode():
        both = Flux2KleinPipeline._get_qwen3_prompt_embeds(
            encoder, words, [prompt, ""], max_sequence_length=settings.text_tokens)
    if both.shape[-1] != settings.joint_attention_dim:
        raise CheckpointError(f"{text_encoder}: embeddings of {both.shape[-1]} numbers, the backbone takes "
                              f"{settings.joint_attention_dim}")
    return TextMemory(*both.float().clone())


def write_prompts(path: str | os.PathLike[str], text: TextMemory, prompt: str) -> None:
    """Store them, the prompt's words in the header. Raises StorageError if it cannot be written."""
    save(path, {"prompt": text.prompt, "empty": text.empty}, {"kind": "prompt embeddings", "prompt": prompt})
