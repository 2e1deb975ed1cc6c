import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantcheck import reference
from quantcheck.errors import EngineError, EngineUnavailable, ModelError, SpecError
from quantcheck.spec.variant import Calibration, Quantize
from quantcheck.variants.compress import SCHEMES, compress, compressor_versions, inputs, method_of
from quantcheck.variants.schemes import SCHEMES as KNOWN
from tests.conftest import needs_environment
from tests.variants import folders

MODEL = reference.model_dir()
TEXT = Calibration(dataset=str(reference.corpus_path("stories")), samples=8, tokens=64)

Stored = dict[str, tuple[str, np.ndarray[Any, Any]]]


# --- what is refused before anything is started

def test_every_scheme_is_known_to_the_schemes() -> None:
    assert set(SCHEMES) == {name for name, config in KNOWN.items() if config}


@pytest.mark.parametrize(("scheme", "how", "complaint"), [
    ("fp7", Quantize(), "makes no 'fp7'"),
    ("fp8-dynamic", Quantize(method="gptq", calibration=TEXT), "cannot be made by method gptq: use rtn"),
    ("w8a8-int8", Quantize(method="awq", calibration=TEXT), "use one of rtn, gptq, smoothquant-gptq"),
    ("awq", Quantize(method="rtn"), "use awq"),
    ("w4a16", Quantize(method="gptq"), r"add quantize.calibration: \{dataset: FILE\}"),
    ("gptq", Quantize(), "add quantize.calibration"),
    ("nvfp4", Quantize(), "add quantize.calibration"),
    ("w8a8-int8", Quantize(calibration=TEXT), "leave quantize.calibration out, or choose method gptq"),
    ("fp8-dynamic", Quantize(imatrix="a.txt"), "takes no `imatrix:`"),
])
def test_what_cannot_be_combined(scheme: str, how: Quantize, complaint: str) -> None:
    with pytest.raises(SpecError, match=complaint):
        method_of(scheme, how)


def test_the_scheme_names_its_method() -> None:
    assert [method_of(s, Quantize()) for s in ("w4a16", "w8a8-int8", "fp8-block", "mxfp4")] == ["rtn"] * 4
    assert method_of("gptq", Quantize(calibration=TEXT)) == "gptq"
    assert method_of("awq", Quantize(calibration=TEXT)) == "awq"


def test_inputs_change_with_the_calibration() -> None:
    one = inputs("gptq", Quantize(calibration=TEXT), Path())
    assert one == inputs("gptq", Quantize(calibration=TEXT), Path())
    assert one != inputs("gptq", Quantize(calibration=TEXT.model_copy(update={"seed": 1})), Path())


def test_an_interpreter_without_llm_compressor(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match="quantcheck engines install llm-compressor"):
        compressor_versions(Path(sys.executable))
    with pytest.raises(EngineUnavailable, match="cannot be run"):
        compressor_versions(tmp_path / "python")


def test_a_source_that_is_quantized_already(tmp_path: Path) -> None:
    config = folders.config(quantization_config=KNOWN["awq"])
    folders.save(tmp_path / "source", config, folders.tensors(config))
    with pytest.raises(ModelError, match=r"quantized already \(awq\)"):
        run(tmp_path, Path(sys.executable), source=tmp_path / "source")


# --- a process that goes wrong, with a stand-in for the interpreter

def run(tmp_path: Path, python: Path, scheme: str = "fp8-dynamic", how: Quantize | None = None, *,
        source: Path = MODEL, **more: Any) -> dict[str, Any]:
    return compress(source, tmp_path / "out", scheme, how or Quantize(), python=python, log=tmp_path / "job.log",
                    progress=more.pop("progress", lambda _told: None), **more)


def stand_in(tmp_path: Path, body: str) -> Path:
    """An interpreter that has llm-compressor by its own account, and does `body` in place of the job."""
    script = tmp_path / "python"
    script.write_text(
        f"#!{sys.executable}\nimport json, os, signal, sys, time\n"
        "if sys.argv[1] == '-c':\n    print(json.dumps({'llmcompressor': '0'}))\n    sys.exit()\n"
        "job = json.load(open(sys.argv[2]))\n"
        "def tell(**event):\n    print(json.dumps(event), file=open(job['events'], 'a'))\n" + body + "\n")
    script.chmod(0o755)
    return script


@pytest.mark.parametrize(("body", "kind", "complaint"), [
    ("print('something broke'); sys.exit(3)", EngineError, r"exit status 3.*something broke"),
    ("os.kill(os.getpid(), signal.SIGKILL)", EngineError, "killed by SIGKILL"),
    ("tell(error='memory', message='CUDA'); sys.exit(1)", EngineError, "ran out of memory"),
    ("tell(error='model', message='no such layer'); sys.exit(1)", ModelError, "no such layer"),
    ("tell(error='spec', message='too short'); sys.exit(1)", SpecError, "too short"),
    ("tell(error='unavailable', message='no torch'); sys.exit(1)", EngineUnavailable, "no torch: install it"),
    ("tell(result={}); sys.exit(0)", ModelError, "holds no"),
])
def test_a_job_that_fails(body: str, kind: type[Exception], complaint: str, tmp_path: Path) -> None:
    with pytest.raises(kind, match=complaint):
        run(tmp_path, stand_in(tmp_path, body))
    assert not (tmp_path / ".job.log.job").exists()


def test_a_job_that_falls_silent_is_ended(tmp_path: Path) -> None:
    body = f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)"
    with pytest.raises(EngineError, match="has said nothing for 2 s"):
        run(tmp_path, stand_in(tmp_path, body), silence_s=2.0)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_progress_is_heard_from_events_and_log(tmp_path: Path) -> None:
    body = "tell(stage='quantize'); print('(3/9): Calibrating'); sys.exit(1)"
    heard: list[float | str] = []
    with pytest.raises(EngineError):
        run(tmp_path, stand_in(tmp_path, body), progress=heard.append)
    assert heard == ["quantize", 2 / 9]


def test_a_result_of_another_format_is_refused(tmp_path: Path) -> None:
    made = folders.config(quantization_config=KNOWN["w4a16"])
    folders.save(tmp_path / "out", made, folders.tensors(made))
    with pytest.raises(EngineError, match="asked for fp8-dynamic and wrote a configuration that says w4a16"):
        run(tmp_path, stand_in(tmp_path, "tell(result={})"))


# --- the real one

@pytest.fixture(scope="module")
def python() -> Path:
    return needs_environment("llm-compressor")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small(tmp_path_factory.mktemp("tiny"), 128)


def small(folder: Path, hidden: int) -> Path:
    config = folders.config(hidden_size=hidden, intermediate_size=256, architectures=["LlamaForCausalLM"],
                            torch_dtype="bfloat16", bos_token_id=0, eos_token_id=1)
    folders.save(folder, config, folders.tensors(config), folders.byte_level(), stored_as="BF16")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
    # Settings that contradict each other, as published models have them: transformers refuses to write them.
    (folder / "generation_config.json").write_text(json.dumps({"do_sample": False, "temperature": 0.6}))
    return folder


def stored(folder: Path) -> Stored:
    """Tensors by name as (type, values): floats as float32, FP8 and packed ones as they lie."""
    out: Stored = {}
    kinds = {"F16": "<f2", "F32": "<f4", "BF16": "<u2", "I8": "i1", "I32": "<i4", "I64": "<i8", "F8_E4M3": "u1"}
    data = (folder / "model.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little")
    for name, entry in json.loads(data[8 : 8 + length]).items():
        if name == "__metadata__":
            continue
        start, end = (8 + length + offset for offset in entry["data_offsets"])
        values = np.frombuffer(data[start:end], kinds[entry["dtype"]]).reshape(entry["shape"])
        if entry["dtype"] == "BF16":
            values = (values.astype("<u4") << 16).view("<f4")
        out[name] = (entry["dtype"], values.astype(np.float32) if entry["dtype"] in ("F16", "F32") else values)
    return out


def e4m3(codes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    exponent, mantissa = (codes >> 3 & 15).astype(int), (codes & 7) / 8
    size = np.where(exponent == 0, mantissa * 2.0**-6, (1 + mantissa) * 2.0 ** (exponent - 7))
    return np.where(codes & 128, -size, size)


def linear_layers(tensors: Stored) -> list[str]:
    return [n.removesuffix(".weight") for n in tensors if n.endswith("_proj.weight")]


def unpacked(tensors: Stored, layer: str) -> np.ndarray[Any, Any]:
    """4-bit weights, eight to an int32, the first in the lowest bits, each plus 8; one scale to 128 columns."""
    words = tensors[f"{layer}.weight_packed"][1].view("<u4")
    codes = (words[:, :, None] >> (4 * np.arange(8, dtype=np.uint32)) & 15).reshape(len(words), -1).astype(int) - 8
    return np.asarray(codes * np.repeat(tensors[f"{layer}.weight_scale"][1], 128, axis=1))


def rms(values: np.ndarray[Any, Any]) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


@pytest.mark.slow
def test_w8a8_of_the_reference_model(python: Path, tmp_path: Path) -> None:
    heard: list[float | str] = []
    facts = run(tmp_path, python, "w8a8-int8", progress=heard.append)
    out = tmp_path / "out"
    before, after = stored(MODEL), stored(out)
    for layer in linear_layers(before):
        kind, codes = after[f"{layer}.weight"]
        scale = after[f"{layer}.weight_scale"][1]
        assert kind == "I8"
        error = codes * scale - before[f"{layer}.weight"][1]
        assert rms(error / scale) == pytest.approx(12**-0.5, rel=0.05)  # a rounding step's, evenly spread
        assert np.abs(codes.astype(int)).max(axis=1).min() >= 127  # the whole range of every row is used
    assert np.array_equal(after["model.embed_tokens.weight"][1], before["model.embed_tokens.weight"][1])
    assert "lm_head.weight" not in after  # tied, stored once
    for kept in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        assert (out / kept).read_bytes() == (MODEL / kept).read_bytes()
    config = json.loads((out / "config.json").read_text())
    quantization = config.pop("quantization_config")
    assert config == json.loads((MODEL / "config.json").read_text())
    assert quantization["quant_method"] == "compressed-tensors"
    assert facts["quantization"]["scheme"] == "w8a8-int8"
    assert (facts["method"], facts["layers"], facts["ignored"], facts["dtype"]) == ("rtn", 56, ["lm_head"], "float16")
    assert set(facts["versions"]) == {"llmcompressor", "compressed-tensors", "torch", "transformers"}
    assert facts["peak_rss_bytes"] > (MODEL / "model.safetensors").stat().st_size
    assert facts["seconds"] > 0
    assert facts["calibration"] is None
    assert "save" in heard


@pytest.mark.slow
def test_fp8_dynamic(python: Path, tiny: Path, tmp_path: Path) -> None:
    facts = run(tmp_path, python, "fp8-dynamic", source=tiny)
    before, after = stored(tiny), stored(tmp_path / "out")
    for layer in linear_layers(before):
        kind, codes = after[f"{layer}.weight"]
        scale = after[f"{layer}.weight_scale"][1]
        exact = before[f"{layer}.weight"][1]
        assert kind == "F8_E4M3"
        # Half a step of 3 mantissa bits, or of the smallest numbers; the quotient is taken in bfloat16.
        assert (np.abs(e4m3(codes) * scale - exact) <= np.maximum(np.abs(exact) * 0.0705, scale * 2.0**-10)).all()
    assert after["lm_head.weight"][0] == "BF16"
    assert np.array_equal(after["lm_head.weight"][1], before["lm_head.weight"][1])
    assert facts["dtype"] == "bfloat16"
    assert (tmp_path / "out/generation_config.json").read_bytes() == (tiny / "generation_config.json").read_bytes()


@pytest.mark.slow
def test_gptq_of_a_plain_text_loads_in_transformers(python: Path, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text(" ".join(folders.TEXT) * 4)
    how = Quantize(calibration=Calibration(dataset="book.txt", samples=6, tokens=32, seed=1))
    facts = run(tmp_path, python, "gptq", how, source=tiny, base=tmp_path)
    assert facts["calibration"] | {"data_sha256": "", "token_ids_sha256": ""} == {
        "dataset": "book.txt", "data_sha256": "", "most_tokens": 32, "seed": 1, "samples": 6, "tokens": 6 * 32,
        "token_ids_sha256": ""}
    before, after = stored(tiny), stored(tmp_path / "out")
    for layer in linear_layers(before):
        exact = before[f"{layer}.weight"][1]
        # Rounding to 15 steps over a group's range gives about 0.1 for normal weights; GPTQ trades some of it.
        assert 0.05 < rms(unpacked(after, layer) - exact) / rms(exact) < 0.25
    # The layout, read by the library that defines it, gives the same weights.
    code = (
        "import sys, numpy, torch\nfrom transformers import AutoModelForCausalLM as A\n"
        "from transformers.utils.quantization_config import CompressedTensorsConfig as C\n"
        "m = A.from_pretrained(sys.argv[1], dtype='auto', quantization_config=C(dequantize=True))\n"
        "m(torch.tensor([[1, 2, 3]]))\n"
        "numpy.savez(sys.argv[2], **{n: p.detach().float().numpy() for n, p in m.named_parameters() "
        "if n.endswith('_proj.weight')})\n")
    subprocess.run([str(python), "-c", code, str(tmp_path / "out"), str(tmp_path / "loaded.npz")], check=True,
                   env={**os.environ, "HF_HUB_OFFLINE": "1"}, capture_output=True)
    with np.load(tmp_path / "loaded.npz") as loaded:
        assert sorted(loaded.files) == sorted(f"{layer}.weight" for layer in linear_layers(before))
        for layer in linear_layers(before):
            assert np.allclose(loaded[f"{layer}.weight"], unpacked(after, layer), rtol=0.01, atol=1e-6)


@pytest.mark.slow
def test_awq_of_conversations_without_an_accelerator(python: Path, tiny: Path, tmp_path: Path) -> None:
    source = small(tmp_path / "source", 128)
    (source / "chat_template.jinja").write_text(
        "{% for m in messages %}<|begin|>{{ m['role'] }}: {{ m['content'] }}{% endfor %}")
    rows = [{"messages": [{"role": "user", "content": text}]} for text in folders.TEXT]
    (tmp_path / "chat.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    how = Quantize(method="awq", calibration=Calibration(dataset="chat.jsonl", samples=4, tokens=48))
    facts = run(tmp_path, python, "w4a16", how, source=source, base=tmp_path)
    assert facts["calibration"]["samples"] == 4
    assert 4 < facts["calibration"]["tokens"] <= 4 * 48
    if facts["device"] == "cpu":
        assert "pinning" in facts["notes"][0]
    before, after = stored(tiny), stored(tmp_path / "out")
    moved = 0.0
    for i in range(2):
        for norm, names in (("input_layernorm", "qkv"), ("post_attention_layernorm", ("gate", "up"))):
            norm_before, norm_after = (t[f"model.layers.{i}.{norm}.weight"][1] for t in (before, after))
            moved = max(moved, rms(norm_after - norm_before))
            for name in names:
                layer = f"model.layers.{i}.{'self_attn' if norm[0] == 'i' else 'mlp'}.{name}_proj"
                if name == "up":
                    continue  # its rows were scaled too, for down_proj
                exact = before[f"{layer}.weight"][1] * norm_before
                # AWQ scales a layer's columns and divides the norm before it: only their product stays.
                assert 0.05 < rms(unpacked(after, layer) * norm_after - exact) / rms(exact) < 0.25
    assert moved > 0.01
    assert (tmp_path / "out/chat_template.jinja").is_file()


@pytest.mark.slow
def test_groups_that_do_not_divide_a_layer(python: Path, tmp_path: Path) -> None:
    source = small(tmp_path / "source", 64)
    with pytest.raises(ModelError, match=r"groups of 128 do not divide 12 of 14 layers.*q_proj, 64 wide: use a scheme"):
        run(tmp_path, python, "w4a16", source=source)
    assert not list((tmp_path / "out").iterdir())
