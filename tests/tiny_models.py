"""Language models of a few thousand weights in folders, as a hub or a colleague gives them: BERT and Llama, with tokenizers."""

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, LlamaConfig, LlamaModel, PreTrainedTokenizerFast

from ecgclip.towers.tokenizer import japanese_tokenizer

WIDTH = 32


def tiny_bert(folder: Path, seed: int = 0, positions: int = 128) -> Path:
    """An encoder over the shipped vocabulary."""
    torch.manual_seed(seed)
    tokenizer = japanese_tokenizer()
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=positions,
    )
    model = BertModel(config)
    torch.nn.init.normal_(model.embeddings.word_embeddings.weight, std=0.3)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def tiny_llama(folder: Path, seed: int = 0, positions: int = 2048) -> Path:
    """A decoder that reads UTF-8 byte by byte; as with Llama 3, its tokenizer has no padding token and knows no limit."""
    torch.manual_seed(seed)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<|begin_of_text|>", "<|end_of_text|>"]
    tokenizer = Tokenizer(models.BPE({token: number for number, token in enumerate([*special, *letters])}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(special)
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{special[0]} $A", special_tokens=[(special[0], 0)])
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=special[0], eos_token=special[1]).save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(letters) + len(special),
        hidden_size=WIDTH,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=positions,
        bos_token_id=0,
        eos_token_id=1,
    )
    model = LlamaModel(config).to(torch.bfloat16)
    torch.nn.init.normal_(model.embed_tokens.weight, std=0.3)
    model.save_pretrained(folder)
    assert "pad_token" not in json.loads((folder / "tokenizer_config.json").read_text())
    return folder
