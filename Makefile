# make demo   install what is missing and run a job in a guest (as root, on Debian 12)
# make test   install what is missing and run all tests
# make check  what a contributor runs before a commit: format, lint, types, layers, fast tests
.PHONY: demo test check golden bench clean

demo:
	scripts/setup run
	scripts/demo

test:
	scripts/setup test
	.venv/bin/vtorque image build debian-12
	.venv/bin/vtorque image build debian-12-mpi
	scripts/test

check:
	scripts/setup test
	.venv/bin/ruff format --check .
	.venv/bin/pytest -n 2 -m 'not alone'

golden:
	.venv/bin/pytest tests/test_examples.py tests/test_invalid.py tests/render tests/test_plan_command.py --update-golden

bench:
	scripts/setup bench
	.venv/bin/python benchmarks/compile.py
	.venv/bin/python benchmarks/lint.py
	.venv/bin/python benchmarks/placement.py
	.venv/bin/python benchmarks/nodes.py
	.venv/bin/python benchmarks/backing.py
	.venv/bin/python benchmarks/images.py
	.venv/bin/python benchmarks/hook.py
	.venv/bin/python benchmarks/supervisor.py

clean:
	rm -rf .venv .coverage* .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
