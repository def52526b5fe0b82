"""Writes a tiny GGUF model of random weights that llama.cpp's server can load.

    tiny_model.py FILE [--seed N] [--layers N] [--embed N] [--ff N]

It is a whole Llama of a few layers with a tokenizer of its own, so that the engine
does all that it does with a real one, in a few megabytes and without a download.
What it says is no language, but it can be checked: token follows token by one rule,
so that a reply that lacks a token, repeats one or holds another's shows.

- The vocabulary is every word of three letters, 26**3 of them, each one token with
  the blank before it, and the bytes, so that any text can be read. `aaa` is word 0,
  `baa` word 1, `zaa` word 25, `aba` word 26.
- At temperature 0, word n is followed by word (4629 n + 7919) mod 26**3: a cycle
  through all words. The rule is in the output matrix, which maps each word's
  embedding to the word that follows; embeddings are random, and what attention and
  the feed-forward layers add is random, too, but too small to change the first choice.
- It never ends by itself: only max_tokens, a stop word or the context ends a reply.

The same arguments write the same bytes with the same version of NumPy.
"""

import argparse

import gguf
import numpy as np

LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORDS = 26**3
STEP, START = 4629, 7919  # a full cycle: STEP - 1 is divisible by 2, 4 and 13, START by neither 2 nor 13
BLANK = "\u2581"  # how SentencePiece writes a blank
HEADS = 4
CONTEXT = 8192
RULE = 20.0  # how strongly the rule speaks, against the layers' whisper
WHISPER = 0.01
NEVER = -40.0


def vocabulary():
    """Returns tokens, their types and scores, and the index of word 0.

    The pieces that a word is merged from must be tokens as well, and a blank with
    its letter must merge before two letters do: the scores see to that.
    """
    kinds = gguf.TokenType
    rows = [(b"<unk>", kinds.UNKNOWN, 0.0), (b"<s>", kinds.CONTROL, 0.0), (b"</s>", kinds.CONTROL, 0.0)]
    rows += [(b"<0x%02X>" % i, kinds.BYTE, 0.0) for i in range(256)]
    rows += [(text.encode(), kinds.NORMAL, -1000.0) for text in (BLANK, *LETTERS)]
    rows += [((BLANK + a).encode(), kinds.NORMAL, -1.0) for a in LETTERS]
    rows += [((BLANK + a + b).encode(), kinds.NORMAL, -2.0) for a in LETTERS for b in LETTERS]
    first = len(rows)
    rows += [((BLANK + word(n)).encode(), kinds.NORMAL, -3.0) for n in range(WORDS)]
    tokens, types, scores = (list(column) for column in zip(*rows))
    return tokens, types, scores, first


def word(n):
    """Returns word n, the least letter first."""
    return LETTERS[n % 26] + LETTERS[n // 26 % 26] + LETTERS[n // 676]


def matrices(random, vocab, first, args):
    """Yields (name, array) of every tensor, arrays of float32 by (outputs, inputs).

    Column 0 of the embeddings is 1 and no layer adds to it: by it the output
    matrix pushes down all that is no word.
    """
    wide, deep = args.embed, args.ff
    embeddings = random.standard_normal((vocab, wide))
    embeddings[:, 0] = 0
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    output = np.zeros((vocab, wide))
    output[:first, 0] = NEVER
    follows = (np.arange(WORDS) * STEP + START) % WORDS
    output[first + follows] = embeddings[first:] * RULE
    embeddings[:, 0] = 1
    yield "token_embd.weight", embeddings
    yield "output_norm.weight", np.ones(wide)
    yield "output.weight", output

    def layer(outputs, inputs, scale=1.0):
        return random.standard_normal((outputs, inputs)) * scale / np.sqrt(inputs)

    def whisper(outputs, inputs):
        weights = layer(outputs, inputs, WHISPER)
        weights[0] = 0
        return weights

    for n in range(args.layers):
        block = f"blk.{n}."
        yield block + "attn_norm.weight", np.ones(wide)
        for kind in ("q", "k", "v"):
            yield f"{block}attn_{kind}.weight", layer(wide, wide)
        yield block + "attn_output.weight", whisper(wide, wide)
        yield block + "ffn_norm.weight", np.ones(wide)
        yield block + "ffn_gate.weight", layer(deep, wide)
        yield block + "ffn_up.weight", layer(deep, wide)
        yield block + "ffn_down.weight", whisper(wide, deep)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("file")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--embed", type=int, default=64)
    parser.add_argument("--ff", type=int, default=256)
    args = parser.parse_args()

    tokens, types, scores, first = vocabulary()
    out = gguf.GGUFWriter(args.file, "llama")
    out.add_name("penstock-tiny")
    out.add_context_length(CONTEXT)
    out.add_embedding_length(args.embed)
    out.add_block_count(args.layers)
    out.add_feed_forward_length(args.ff)
    out.add_head_count(HEADS)
    out.add_head_count_kv(HEADS)
    out.add_rope_dimension_count(args.embed // HEADS)
    out.add_layer_norm_rms_eps(1e-5)
    out.add_vocab_size(len(tokens))
    out.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    out.add_tokenizer_model("llama")
    out.add_tokenizer_pre("default")
    out.add_token_list(tokens)
    out.add_token_types(types)
    out.add_token_scores(scores)
    out.add_unk_token_id(0)
    out.add_bos_token_id(1)
    out.add_eos_token_id(2)
    out.add_add_bos_token(False)
    out.add_add_eos_token(False)
    out.add_add_space_prefix(True)
    # The reply follows the last word of the last message.
    out.add_chat_template("{% for m in messages %}{{ m['content'] }}{% if not loop.last %} {% endif %}{% endfor %}")
    random = np.random.default_rng(args.seed)
    for name, array in matrices(random, len(tokens), first, args):
        out.add_tensor(name, array.astype(np.float16 if array.ndim == 2 else np.float32))
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


if __name__ == "__main__":
    main()
