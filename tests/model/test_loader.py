"""Weight files: what is read, what is refused, and that the official names fit the modules."""

from __future__ import annotations

import gzip
import json
import pickle
import sys
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from bench import random_checkpoint
from services.common import twin
from services.common.checkpoint import CheckpointConfig, CheckpointError
from services.common.memory import resident_bytes
from services.common.twin import write_twin
from services.common.weights import fuse_weight_norm, load_into, read_state, read_tensor
from services.gpt_worker.model.dimensions import GptDimensions
from services.gpt_worker.model.semantic import SemanticEncoder
from services.gpt_worker.model.unified_voice import UnifiedVoice

FULL_SIZE = Path(__file__).parent.parent / "golden" / "fullsize_keys.json.gz"


def official_shapes(file: str) -> dict[str, tuple[int, ...]]:
    with gzip.open(FULL_SIZE, "rt", encoding="utf-8") as stream:
        keys: dict[str, Any] = json.load(stream)["files"][file]["keys"]
    return {name: tuple(entry["shape"]) for name, entry in keys.items()}


def test_random_checkpoint_has_official_shapes_and_finite_values(tmp_path: Path) -> None:
    for file in ("wav2vec2bert_stats.pt", "hf_cache/campplus_cn_common.bin"):
        with gzip.open(FULL_SIZE, "rt", encoding="utf-8") as stream:
            keys = json.load(stream)["files"][file]["keys"]
        random_checkpoint.write_weights(tmp_path, file, keys, is_half=True)
        state = read_state(tmp_path / file)
        assert {name: tuple(value.shape) for name, value in state.items()} == official_shapes(file)
        assert all(value.isfinite().all() for value in state.values())


def test_random_checkpoint_nests_like_the_official_files() -> None:
    one = torch.ones(1)
    assert random_checkpoint.nested({"net.cfm.a.b": one, "net.gpt_layer.0.bias": one}, 2) == {
        "net": {"cfm": {"a.b": one}, "gpt_layer": {"0.bias": one}}
    }


def test_random_pieces_cover_every_text_id(tmp_path: Path) -> None:
    random_checkpoint.write_pieces(tmp_path / "bpe.model", 12000)
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "bpe.model"))
    assert pieces.get_piece_size() == 12000
    assert pieces.unk_id() not in pieces.encode("HELLO 一")


def shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}


def test_gpt_has_the_official_names_and_shapes() -> None:
    """All 665 tensors but the two position tables, which are computed."""
    with torch.device("meta"):
        voice = UnifiedVoice(GptDimensions.from_config(CheckpointConfig()))
    official = official_shapes("gpt.pth")
    tables = {name for name in official if name.endswith(".pos_enc.pe")}
    assert len(tables) == 2
    assert shapes(voice) == {name: shape for name, shape in official.items() if name not in tables}


def test_dimensions_come_from_shapes_where_the_config_is_silent() -> None:
    state = {
        "perceiver_encoder.latents": torch.empty(7, 1280),
        "perceiver_encoder.layers.0.0.to_q.weight": torch.empty(256, 1280),
        "perceiver_encoder.layers.1.1.0.bias": torch.empty(3),
        "perceiver_encoder.layers.2.1.0.bias": torch.empty(3),
        "emo_conditioning_encoder.encoders.0.conv_module.depthwise_conv.weight": torch.empty(512, 1, 9),
        "emo_perceiver_encoder.latents": torch.empty(1, 48),
        "emo_perceiver_encoder.layers.0.1.2.weight": torch.empty(48, 96),
    }
    sizes = GptDimensions.from_config(CheckpointConfig(), state)
    assert (sizes.speaker.perceiver.latents, sizes.speaker.perceiver.depth) == (7, 3)
    assert sizes.speaker.perceiver.head_width == 32
    assert sizes.emotion.conformer.kernel == 9
    assert (sizes.emotion.perceiver.width, sizes.emotion.perceiver.feed_forward) == (48, 96)


def test_encoder_has_the_official_names_up_to_its_last_layer() -> None:
    with torch.device("meta"):
        encoder = SemanticEncoder({"hidden_size": 1024, "num_hidden_layers": 24}, layer=17).encoder
    official = official_shapes("hf_cache/w2v-bert-2.0/model.safetensors")
    dropped = tuple(f"encoder.layers.{i}." for i in range(17, 24))
    expected = {name: shape for name, shape in official.items() if not name.startswith(dropped)}
    expected.pop("masked_spec_embed")
    assert shapes(encoder) == expected


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"model": s}, lambda s: {"module.a": s["a"]}])
def test_flat_wrapped_and_prefixed_states_read_alike(tmp_path: Path, wrap: Any) -> None:
    torch.save(wrap({"a": torch.ones(2, dtype=torch.float16)}), tmp_path / "x.pth")
    state = read_state(tmp_path / "x.pth")
    assert list(state) == ["a"]
    assert state["a"].dtype == torch.float32


def test_nested_sections_are_found_by_name(tmp_path: Path) -> None:
    torch.save({"net": {"cfm": {"module.a": torch.ones(1)}}}, tmp_path / "x.pth")
    assert list(read_state(tmp_path / "x.pth", "net", "cfm")) == ["a"]
    with pytest.raises(CheckpointError, match=r"x\.pth: no section 'gpt_layer'; it has cfm"):
        read_state(tmp_path / "x.pth", "net", "gpt_layer")


def test_safetensors_read_like_pickles(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2, dtype=torch.bfloat16)}, tmp_path / "x.safetensors")
    assert read_state(tmp_path / "x.safetensors")["a"].dtype == torch.float32


@pytest.mark.parametrize(
    ("content", "keys"),
    [
        ({"a": torch.ones(2)}, ()),
        ({"model": {"a": torch.ones(2)}, "epoch": 3}, ()),
        ({"net": {"cfm": {"module.a": torch.ones(2), "b.c": torch.zeros(1).half()}}}, ("net", "cfm")),
        ({"model": {"net": {"cfm": {"a": torch.ones(2)}, "other": {"a": torch.zeros(3)}}}}, ("net", "cfm")),
        (
            {"net": {"regulator": {"model.0.weight": torch.ones(1), "model.1.weight": torch.ones(2)}}},
            ("net", "regulator"),
        ),
    ],
)
def test_a_twin_reads_like_its_pickle(tmp_path: Path, content: dict[str, Any], keys: tuple[str, ...]) -> None:
    torch.save(content, tmp_path / "x.pth")
    made = write_twin(tmp_path / "x.pth")
    expected, state = read_state(tmp_path / "x.pth", *keys), read_state(made, *keys)

    assert made == tmp_path / "x.safetensors"
    assert set(state) == set(expected)
    assert all(torch.equal(state[name], expected[name]) for name in expected)


def test_nested_sections_are_the_beginnings_of_a_twins_names(tmp_path: Path) -> None:
    torch.save({"net": {"cfm": {"a.b": torch.ones(1)}}}, tmp_path / "x.pth")
    made = write_twin(tmp_path / "x.pth")

    assert list(load_file(made)) == ["net.cfm.a.b"]
    with pytest.raises(CheckpointError, match=r"x\.safetensors: no section 'net\.gpt_layer'; it has net\.cfm\.a\.b"):
        read_state(made, "net", "gpt_layer")


def test_a_bare_tensor_and_tensors_that_share_memory_have_twins(tmp_path: Path) -> None:
    matrix = torch.arange(6.0).view(2, 3)
    torch.save(matrix.T, tmp_path / "feat.pt")
    torch.save({"a": matrix, "b": matrix, "row": matrix[1]}, tmp_path / "tied.pth")

    assert torch.equal(read_tensor(write_twin(tmp_path / "feat.pt")), matrix.T)
    tied = read_state(write_twin(tmp_path / "tied.pth"))
    assert torch.equal(tied["a"], matrix)
    assert torch.equal(tied["b"], matrix)
    assert torch.equal(tied["row"], matrix[1])


def test_a_twin_keeps_types_and_may_be_read_by_whom_the_pickle_may(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2).half(), "n": torch.arange(3)}, tmp_path / "x.pth")
    (tmp_path / "x.pth").chmod(0o640)
    made = write_twin(tmp_path / "x.pth")

    assert {name: value.dtype for name, value in load_file(made).items()} == {"a": torch.float16, "n": torch.int64}
    assert made.stat().st_mode & 0o777 == 0o640


def test_no_twin_of_what_holds_more_than_tensors(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1), "epoch": 3}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=r"x\.pth: expected tensors only, but these are none: epoch"):
        write_twin(tmp_path / "x.pth")
    assert not (tmp_path / "x.safetensors").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read from /proc")
def test_a_twin_is_mapped_and_not_copied(tmp_path: Path) -> None:
    """Reading 64 MiB costs next to nothing before the numbers are used."""
    path, size = tmp_path / "x.safetensors", 64 * 2**20
    save_file({f"t{index}": torch.ones(size // 16 // 4) for index in range(16)}, path)
    before = resident_bytes()
    state = read_state(path)

    assert resident_bytes() - before < size // 4
    assert sum(float(value[-1]) for value in state.values()) == 16


def test_the_command_writes_all_twins_of_a_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.yaml").write_text("{}")
    torch.save({"a": torch.ones(1)}, tmp_path / "gpt.pth")
    torch.save(torch.ones(2), tmp_path / "feat1.pt")

    assert twin.main([str(tmp_path)]) == 0
    assert "gpt.safetensors" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.glob("*.safetensors")) == ["feat1.safetensors", "gpt.safetensors"]
    assert twin.main([str(tmp_path)]) == 0, "a second time reads the pickles again, not the twins"
    (tmp_path / "gpt.pth").write_bytes(b"damaged")
    assert twin.main([str(tmp_path)]) == 1
    assert "gpt.pth" in capsys.readouterr().err


class Trap:
    """Touches a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("is_plain", [True, False])
def test_code_in_a_pickle_is_not_executed(tmp_path: Path, is_plain: bool) -> None:
    content, trap = {"a": Trap(tmp_path / "sprung")}, tmp_path / "x.pth"
    if is_plain:
        trap.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, trap)
    with pytest.raises(CheckpointError, match=r"x\.pth.*nothing in it was executed"):
        read_state(trap)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("name", ["x.pth", "x.safetensors"])
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short", b"<html>not found</html>"])
def test_damaged_file_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=name):
        read_state(tmp_path / name)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"x\.pth: no such file"):
        read_state(tmp_path / "x.pth")


def test_bare_tensor_and_dict_are_not_confused(tmp_path: Path) -> None:
    torch.save(torch.ones(3, dtype=torch.float16), tmp_path / "feat.pt")
    assert read_tensor(tmp_path / "feat.pt").dtype == torch.float32
    with pytest.raises(CheckpointError, match="found Tensor"):
        read_state(tmp_path / "feat.pt")
    torch.save({"a": 1}, tmp_path / "dict.pt")
    with pytest.raises(CheckpointError, match="found dict"):
        read_tensor(tmp_path / "dict.pt")
    with pytest.raises(CheckpointError, match=r"these are none: a \(1\)"):
        read_state(tmp_path / "dict.pt")


@pytest.mark.parametrize(
    "module",
    [nn.Linear(3, 5), nn.Conv1d(3, 5, 7), nn.ConvTranspose1d(3, 5, 4)],
    ids=lambda m: type(m).__name__,
)
@pytest.mark.parametrize("is_old_style", [True, False])
def test_weight_norm_fuses_to_the_weight_that_torch_computes(module: nn.Module, is_old_style: bool) -> None:
    """For a transposed convolution the magnitude belongs to the input channels."""
    normed = nn.utils.parametrizations.weight_norm(module, dim=0)
    state = {f"x.{name}": value for name, value in normed.state_dict().items()}
    state["x.parametrizations.weight.original0"] *= 1.7
    with torch.no_grad():
        normed.parametrizations.weight.original0 *= 1.7
    if is_old_style:
        state["x.weight_g"] = state.pop("x.parametrizations.weight.original0")
        state["x.weight_v"] = state.pop("x.parametrizations.weight.original1")
    fused = fuse_weight_norm(state)
    assert set(fused) == {"x.weight", "x.bias"}
    torch.testing.assert_close(fused["x.weight"], normed.weight)
    nn.utils.parametrize.remove_parametrizations(module, "weight")


def test_magnitude_without_direction_is_named() -> None:
    with pytest.raises(CheckpointError, match=r"x\.weight_g has no partner x\.weight_v"):
        fuse_weight_norm({"x.weight_g": torch.ones(2, 1)})


def test_missing_unknown_and_misshapen_tensors_are_all_named() -> None:
    state = {"weight": torch.ones(2, 3), "wight": torch.ones(1)}
    with pytest.raises(CheckpointError) as caught:
        load_into(nn.Linear(2, 2), state, source="some.pth")
    for part in ("some.pth", "missing: bias (1)", "unknown: wight (1)", "weight (2, 3) instead of (2, 2)"):
        assert part in str(caught.value)


def test_long_lists_are_cut_but_counted() -> None:
    with pytest.raises(CheckpointError, match=r"and 88 more \(100\)"):
        load_into(nn.Linear(2, 2), {f"k{i}": torch.ones(1) for i in range(100)}, source="x", optional=[".*"])


def test_ignored_and_optional_tensors_may_differ() -> None:
    module = nn.Linear(2, 2)
    load_into(
        module,
        {"weight": torch.ones(2, 2), "h.0.attn.bias": torch.ones(1)},
        source="x",
        ignore=[r"h\.\d+\.attn\.bias"],
        optional=["bias"],
    )
    assert torch.equal(module.weight, torch.ones(2, 2))


def test_module_on_the_meta_device_takes_the_tensors_over() -> None:
    with torch.device("meta"):
        module = nn.Linear(2, 2)
    load_into(module, {"weight": torch.ones(2, 2), "bias": torch.zeros(2)}, source="x")
    assert module(torch.ones(1, 2)).tolist() == [[2.0, 2.0]]
