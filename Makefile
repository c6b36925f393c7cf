# make        what the rest needs, in .venv
# make demo   the six steps on drawn figures, everything under demo/
# make test   the tests, with what only some commands need
# make bench  speed beside the published figures, about five minutes
# Each creates .venv with the requirements the first time.
PYTHON ?= python3
RUN = .venv/bin/python

.PHONY: install demo test bench clean

install: .venv/installed

demo: .venv/installed
	$(RUN) demo.py

test: .venv/tested
	$(RUN) -m ruff check .
	$(RUN) -m pytest -n 2 --dist loadfile

bench: .venv/installed
	$(RUN) benchmarks/speed.py

.venv/installed: requirements.txt requirements-dev.txt
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Python 3.11 or newer is needed; try: make PYTHON=python3.12')"
	$(PYTHON) -m venv .venv
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@
	@echo "now: source .venv/bin/activate"

.venv/tested: .venv/installed requirements-extra.txt
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements-extra.txt
	touch $@

clean:
	rm -rf .venv demo
