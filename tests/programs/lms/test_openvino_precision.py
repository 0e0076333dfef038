"""The number format that openvino computes in: bfloat16 where the machine has it, unless that would end the process."""

import pytest

from programs.lms.backends import openvino


@pytest.mark.parametrize(
    ("flags", "cores", "hint"),
    [
        ({"avx2"}, 4, "f32"),
        ({"avx512_bf16"}, 1, "bf16"),
        ({"avx512_bf16", "amx_bf16"}, 2, "bf16"),
        ({"avx512_bf16", "amx_bf16"}, 1, "f32"),
    ],
)
def test_one_core_with_amx_computes_in_float32(monkeypatch, flags, cores, hint):
    monkeypatch.delenv("DIVIDE_OR_CONQUER_DTYPE", raising=False)
    monkeypatch.setattr("programs.lms.devices.cpu_flags", lambda: frozenset(flags))
    monkeypatch.setattr(openvino, "cpu_flags", lambda: frozenset(flags))
    monkeypatch.setattr(openvino, "usable_whole_cores", lambda: cores)
    assert openvino.precision_hint() == hint
