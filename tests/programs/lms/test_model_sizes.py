"""The sizes of models that plans reckon with."""

import pytest

from programs.lms.embedded import base_artifact, base_gguf
from programs.lms.model_sizes import relative_size


def test_a_file_and_a_folder_of_the_same_model_have_its_size(tmp_path):
    folder = base_artifact().folder
    assert relative_size(f"gguf/{base_gguf()}") == pytest.approx(1, abs=0.001)
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in folder.iterdir():
        if file.name != "manifest.json" and file.is_file():
            (copy / file.name).symlink_to(file)
    assert relative_size(f"local/{copy}") == pytest.approx(1, abs=0.001)


@pytest.mark.parametrize("model", ["embedded/teacher", "hf/Qwen/Qwen2.5-7B-Instruct", "openai/gpt-4.1-mini"])
def test_what_is_not_at_hand_counts_as_an_embedded_model(model):
    assert relative_size(model) == 1
