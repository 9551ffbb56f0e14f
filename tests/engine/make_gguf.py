"""Writes a small GGUF with random weights: a Llama of two layers that answers nonsense, at once.

    python make_gguf.py FILE

Its vocabulary is the 256 bytes and a few hundred short words, so that a prompt has about as many tokens as
with a real model. The weights come from a fixed seed: the same file each time.
"""

import sys

import gguf
import numpy

LAYERS, WIDTH, HEADS, INNER, CONTEXT = 2, 128, 4, 256, 8192
TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\\n' + message['content'] + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)


def vocabulary():
    """Tokens, scores and kinds, as SentencePiece has them."""
    tokens = ["<unk>", "<s>", "</s>"]
    kinds = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL]
    tokens += [f"<0x{byte:02X}>" for byte in range(256)]
    kinds += [gguf.TokenType.BYTE] * 256
    words = [chr(letter) for letter in range(33, 127)] + ["\u2581"]
    words += ["\u2581" + first + second for first in "aeioubcdfglmnprst" for second in "aeiounrst"]
    tokens += words
    kinds += [gguf.TokenType.NORMAL] * len(words)
    scores = [0.0] * 259 + [-float(rank) for rank in range(len(words))]
    return tokens, scores, kinds


def main(path):
    tokens, scores, kinds = vocabulary()
    random = numpy.random.default_rng(7)

    def weights(*shape):
        return random.normal(0.0, 0.05, shape).astype(numpy.float32)

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("random")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_chat_template(TEMPLATE)
    writer.add_tensor("token_embd.weight", weights(len(tokens), WIDTH))
    writer.add_tensor("output_norm.weight", numpy.ones(WIDTH, numpy.float32))
    writer.add_tensor("output.weight", weights(len(tokens), WIDTH))
    for layer in range(LAYERS):
        name = f"blk.{layer}."
        writer.add_tensor(name + "attn_norm.weight", numpy.ones(WIDTH, numpy.float32))
        writer.add_tensor(name + "ffn_norm.weight", numpy.ones(WIDTH, numpy.float32))
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            writer.add_tensor(f"{name}{part}.weight", weights(WIDTH, WIDTH))
        writer.add_tensor(name + "ffn_gate.weight", weights(INNER, WIDTH))
        writer.add_tensor(name + "ffn_up.weight", weights(INNER, WIDTH))
        writer.add_tensor(name + "ffn_down.weight", weights(WIDTH, INNER))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


main(sys.argv[1])
