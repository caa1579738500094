"""The fixed restoration prompt and what attributes mean, embedded once by FLUX.2-klein's text encoder and stored.

In: a text encoder and a tokenizer in diffusers' layout (Qwen3). Out: safetensors with `prompt` and `empty`, each
[text tokens, D_text]: three hidden layers side by side, as diffusers' klein pipeline makes them; and with `low` and
`high`, each [A, D_text]. With these files at hand neither training nor restoring needs the text encoder in memory.
"""

import os
from typing import Any

import torch
from diffusers import Flux2KleinPipeline
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from anchorface.models.backbone import TextMemory
from anchorface.models.configuration import BackboneSettings
from anchorface.models.weights import save
from anchorface.records import CheckpointError
from anchorface.records.attributes import ATTRIBUTES

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
    encoder, words = _loaded(text_encoder, tokenizer, dtype, device)
    with torch.inference_mode():
        both = Flux2KleinPipeline._get_qwen3_prompt_embeds(
            encoder, words, [prompt, ""], max_sequence_length=settings.text_tokens)
    if both.shape[-1] != settings.joint_attention_dim:
        raise CheckpointError(f"{text_encoder}: embeddings of {both.shape[-1]} numbers, the backbone takes "
                              f"{settings.joint_attention_dim}")
    return TextMemory(*both.float().clone())


@torch.inference_mode()
def embed_attributes(text_encoder: str | os.PathLike[str], tokenizer: str | os.PathLike[str],
                     dtype: torch.dtype = torch.bfloat16, device: str = "cpu") -> dict[str, Tensor]:
    """What the text encoder makes of both ends of every attribute: of each sentence its last token, which has read all.

    Args:
        text_encoder, tokenizer, dtype, device: as of `embed_prompts`.

    Returns:
        `low` and `high`, float32 [A, D_text].

    Raises:
        CheckpointError: a folder that is none.
    """
    encoder, words = _loaded(text_encoder, tokenizer, dtype, device)

    def last(sentence: str) -> Tensor:
        said = words.apply_chat_template([{"role": "user", "content": sentence}], tokenize=False,
                                         add_generation_prompt=True, enable_thinking=False)
        tokens = Flux2KleinPipeline._get_qwen3_prompt_embeds(encoder, words, sentence,
                                                             max_sequence_length=len(words(said)["input_ids"]))
        return tokens[0, -1].float()

    return {"low": torch.stack([last(attribute.low) for attribute in ATTRIBUTES]),
            "high": torch.stack([last(attribute.high) for attribute in ATTRIBUTES])}


def _loaded(text_encoder: str | os.PathLike[str], tokenizer: str | os.PathLike[str], dtype: torch.dtype,
            device: str) -> tuple[Any, Any]:
    try:
        words = AutoTokenizer.from_pretrained(tokenizer, local_files_only=True,
                                              trust_remote_code=False)
        encoder = AutoModelForCausalLM.from_pretrained(text_encoder, local_files_only=True, trust_remote_code=False,
                                                       use_safetensors=True, dtype=dtype).to(device).eval()
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{text_encoder}, {tokenizer}: not a text encoder with its tokenizer: {error}") from error
    return encoder, words


def write_prompts(path: str | os.PathLike[str], text: TextMemory, prompt: str) -> None:
    """Store them, the prompt's words in the header. Raises StorageError if it cannot be written."""
    save(path, {"prompt": text.prompt, "empty": text.empty}, {"kind": "prompt embeddings", "prompt": prompt})
