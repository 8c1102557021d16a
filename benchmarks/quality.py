"""What packing and fast kernels cost in quality: perplexity against transformers on the same weights.

The text is benchmarks/data/mixed.txt: English, Chinese and Python, written for this purpose. It is cut into
windows of 512 tokens, each predicted from its own start. The oracle is transformers with the GGUF file's
weights dequantised to float32; it takes minutes and 8 GB once, then its numbers are kept in the cache
directory. Our engine is measured with the kernels it picks here, many rows at a time (as in prefill) and few
(as in decoding), and with the reference kernels.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import subprocess
import sys
import tempfile
import time
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING

from report import Measurement, argument_parser, print_report

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from local_backend.config import KernelChoice
    from local_backend.engine.engine import Engine

TEXT = Path(__file__).parent / "data" / "mixed.txt"
WINDOW = 512
FEW_ROWS = 16
SLOW_STRIDE = 4  # the slow ways are held against the oracle on every fourth window
BAR_PERCENT = 1.0
GGUF_NAMES = {
    "model.layers.": "blk.",
    "model.embed_tokens.": "token_embd.",
    "model.norm.": "output_norm.",
    "lm_head.": "output.",
    "self_attn.q_proj.": "attn_q.",
    "self_attn.k_proj.": "attn_k.",
    "self_attn.v_proj.": "attn_v.",
    "self_attn.o_proj.": "attn_output.",
    "mlp.gate_proj.": "ffn_gate.",
    "mlp.up_proj.": "ffn_up.",
    "mlp.down_proj.": "ffn_down.",
    "post_attention_layernorm.": "ffn_norm.",
    "input_layernorm.": "attn_norm.",
}


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--model", default="starter", help="local model (default: starter)")
    parser.add_argument("--text", type=Path, default=TEXT, help="UTF-8 text to predict")
    parser.add_argument("--skip-reference", action="store_true", help="leave out the slow reference kernels")
    parser.add_argument("--oracle-of", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.oracle_of:
        path, ids = Path(options.oracle_of[0]), json.loads(Path(options.oracle_of[1]).read_text())
        print(json.dumps(transformers_log_likelihoods(path, ids)))
        return

    from local_backend.store.catalog import resolve_model

    path = resolve_model(options.model)
    windows = token_windows(options.model, options.text.read_text(encoding="utf-8"))
    print("measuring: transformers (minutes the first time)", file=sys.stderr)
    start = time.perf_counter()
    wanted = oracle(path, windows)
    oracle_seconds = time.perf_counter() - start
    rows = [
        Measurement(
            name="transformers, float32",
            value=perplexity(wanted, windows),
            unit="perplexity",
            note=f"{sum(map(len, windows))} tokens of {options.model}; {oracle_seconds:.0f} s",
        )
    ]
    ways: list[tuple[str, KernelChoice, int, int]] = [
        ("auto kernels, prefill", "auto", WINDOW, 1),
        (f"auto kernels, {FEW_ROWS} rows", "auto", FEW_ROWS, SLOW_STRIDE),
    ]
    if not options.skip_reference:
        ways.append(("reference kernels", "reference", WINDOW, SLOW_STRIDE))
    for name, kernels, chunk, stride in ways:
        print(f"measuring: {name}", file=sys.stderr)
        start = time.perf_counter()
        chosen = windows[::stride]
        found = perplexity(engine_log_likelihoods(path, kernels, chosen, chunk), chosen)
        rows.append(
            Measurement(
                name=f"{name}: difference",
                value=100 * (found / perplexity(wanted[::stride], chosen) - 1),
                unit="%",
                limit=BAR_PERCENT,
                note=f"perplexity {found:.4f} of {len(chosen)} windows; {time.perf_counter() - start:.0f} s",
            )
        )
    print_report("perplexity", rows, as_json=options.json)


def token_windows(model: str, text: str) -> list[list[int]]:
    """Return the text's token ids in windows; a last one of a single token has nothing to predict."""
    from local_backend.families.text_assets import TextAssets
    from local_backend.families.tokenizer import Tokenizer
    from local_backend.store.catalog import resolve_model
    from local_backend.store.gguf_header import read_gguf_metadata

    metadata = read_gguf_metadata(resolve_model(model))
    ids = Tokenizer.from_assets(TextAssets.from_gguf_metadata(metadata)).encode_plain(text)
    windows = [ids[start : start + WINDOW] for start in range(0, len(ids), WINDOW)]
    return [window for window in windows if len(window) > 1]


def perplexity(log_likelihoods: list[float], windows: list[list[int]]) -> float:
    """Return exp of the mean negative log likelihood over all predicted tokens."""
    return math.exp(-sum(log_likelihoods) / sum(len(window) - 1 for window in windows))


def oracle(path: Path, windows: list[list[int]]) -> list[float]:
    """Return transformers' log likelihood of each window, computed once per model and text."""
    from local_backend.store.paths import cache_dir
    from local_backend.store.source_hash import source_hash

    key = hashlib.sha256(f"{source_hash(path)} {windows}".encode()).hexdigest()[:32]
    kept = cache_dir() / "benchmarks" / f"oracle-{key}.json"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", suffix=".json") as ids_file:
            json.dump(windows, ids_file)
            ids_file.flush()
            # A process of its own: its 8 GB are gone before our engine is measured.
            command = [sys.executable, __file__, "--oracle-of", str(path), ids_file.name]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        kept.write_text(done.stdout, encoding="utf-8")
    return list(json.loads(kept.read_text(encoding="utf-8")))


def transformers_log_likelihoods(path: Path, windows: list[list[int]]) -> list[float]:
    """Predict every window with transformers on the dequantised weights."""
    import torch

    with torch.inference_mode():
        model = transformers_model(path)
        return [sum_of_predicted(model(torch.tensor([ids])).logits[0], ids) for ids in windows]


def transformers_model(path: Path) -> torch.nn.Module:
    """Fill transformers' own Qwen2 with what the gguf library dequantises; none of our code is in it."""
    import torch
    from gguf import GGUFReader, dequantize
    from transformers import Qwen2Config, Qwen2ForCausalLM

    reader = GGUFReader(path)
    tensors = {tensor.name: tensor for tensor in reader.tensors}

    def value(key: str) -> float:
        return reader.fields[f"qwen2.{key}"].contents()

    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tensors["token_embd.weight"].data),
            hidden_size=value("embedding_length"),
            intermediate_size=value("feed_forward_length"),
            num_hidden_layers=value("block_count"),
            num_attention_heads=value("attention.head_count"),
            num_key_value_heads=value("attention.head_count_kv"),
            rms_norm_eps=value("attention.layer_norm_rms_epsilon"),
            rope_parameters={"rope_type": "default", "rope_theta": value("rope.freq_base")},
            tie_word_embeddings="output.weight" not in tensors,
        )
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            tensor = tensors[gguf_name(name)]
            values = dequantize(tensor.data, tensor.tensor_type)
            parameter.copy_(torch.from_numpy(values.copy()))  # a copy, because mapped data is read-only
    return model.eval()


def gguf_name(name: str) -> str:
    """Return the GGUF name of a transformers parameter."""
    return reduce(lambda known, pair: known.replace(*pair), GGUF_NAMES.items(), name)


def engine_log_likelihoods(
    path: Path, kernels: KernelChoice, windows: list[list[int]], chunk: int
) -> list[float]:
    """Predict every window with our engine's model, `chunk` rows at a time."""
    import torch

    from local_backend.config import EngineConfig
    from local_backend.engine.engine import Engine
    from local_backend.kernels.dispatch import select_kernels
    from local_backend.models.decoder import Decoder
    from local_backend.store.packed import load_or_pack
    from local_backend.store.source_hash import source_hash

    chosen = select_kernels(kernels)
    model = Decoder.build(load_or_pack(path, source_hash(path), chosen, "auto"), chosen)
    engine = Engine(model, EngineConfig(max_model_len=WINDOW, max_kv_bytes=1 << 28))
    with torch.inference_mode():
        return [sum_of_predicted(window_logits(engine, ids, chunk), ids) for ids in windows]


def window_logits(engine: Engine, ids: list[int], chunk: int) -> Tensor:
    """Return the logits after every position of one window, (len(ids), vocab_size) float32."""
    import torch

    from local_backend.sampling_params import SamplingParams
    from local_backend.scheduler.batch import ScheduledBatch, ScheduledSequence

    seq = engine.new_sequence(ids[:1], SamplingParams())
    engine.blocks.grow(seq, len(ids))
    pieces = []
    for start in range(0, len(ids), chunk):
        stop = min(start + chunk, len(ids))
        seq.token_ids, seq.num_computed_tokens = ids[: start + 1], start
        # What follows the first token counts as drafted, so every row has logits.
        item = ScheduledSequence(seq, stop - start, tuple(ids[start + 1 : stop]))
        pieces.append(engine._runner.run(ScheduledBatch((item,)), aborted=lambda: False).logits)
    engine.blocks.release(seq)
    return torch.cat(pieces)


def sum_of_predicted(logits: Tensor, ids: list[int]) -> float:
    """Sum the log likelihoods of ids[1:] under the logits of the positions before them."""
    import torch

    total = 0.0
    for start in range(0, len(ids) - 1, 64):  # slices, because a whole window is 0.3 GB
        stop = min(start + 64, len(ids) - 1)
        chosen = torch.tensor(ids[start + 1 : stop + 1])[:, None]
        rows = torch.log_softmax(logits[start:stop].float(), dim=-1)
        total += rows.gather(1, chosen).double().sum().item()
    return total


if __name__ == "__main__":
    main()
