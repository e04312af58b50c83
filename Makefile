# Every target is complete in itself: it sets up what it needs (lab/install.sh) and works on a fresh clone.
# As root on Debian 12 that includes the servers; anywhere else it says what to install.

SHELL := /bin/bash
python := .venv/bin/python
changes := git status --porcelain && git diff | cksum
if-there = @if command -v $(1) >/dev/null; then echo $(1) $(2); $(1) $(2); else echo "$(1) is not here: left out"; fi
archive = commeazy-monitoring-$(shell sed -n 's/^__version__ = "\(.*\)".*/\1/p' toolkit/__init__.py)
define newer-victoriametrics
newer=$$(lab/versions.sh sid victoria-metrics) && mkdir -p .versions/victoriametrics && \
    ln -sf $$newer/victoria-metrics $$newer/vmalert .versions/victoriametrics/ && PATH=$$PWD/.versions/victoriametrics:$$PATH
endef
checklist := tests/live/checklist_table.py
one-item := test_one_thing_broken_is_one_item_that_fails_and_repaired_it_is_right_again
sources := $(wildcard alerts bench check dashboards exporters gateway lab tests toolkit xmpp)

.PHONY: help promises fuzz audit demo drill scale scaling check screenshots dist test versions try-install incidents victoriametrics checklist mutants generate lint bench soak loss lock clean
.DEFAULT_GOAL := help

help: ## Say what can be made
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 18

demo: ## The whole stack on this machine with traffic on it, until Ctrl-C; ONCE=1 ends after the summary; CLUSTER=active-passive; FAULT=gateway
	@lab/install.sh demo
	@PROSODY=$$(lab/prosody.sh) && export PROSODY && \
	    exec $(python) -m lab.demo $(if $(ONCE),--once) $(if $(CLUSTER),--$(CLUSTER)) $(if $(FAULT),--fault $(FAULT))

check: ## Is an installed monitoring whole? Asks PROMETHEUS (http://localhost:9090) and, if given, GRAFANA
	@lab/install.sh lint
	@exec $(python) -m check $(if $(PROMETHEUS),--prometheus $(PROMETHEUS)) $(if $(GRAFANA),--grafana $(GRAFANA))

screenshots: ## Pictures of each dashboard in screenshots/, drawn by Grafana from the demo's data (GRAFANA_HOME, MINUTES, FAULT, CLUSTER)
	@lab/install.sh demo
	@PROSODY=$$(lab/prosody.sh) && export PROSODY && \
	    exec $(python) -m lab.demo --once --pictures screenshots $(if $(MINUTES),--minutes $(MINUTES)) \
	    $(if $(CLUSTER),--$(CLUSTER)) $(if $(FAULT),--fault $(FAULT))

dist: ## One archive for the hosts: the wheel, its locked dependencies, and what is copied (docs/install.md)
	@lab/install.sh lint
	@rm -rf dist && mkdir -p dist/$(archive)/dashboards
	@$(python) -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist/$(archive)/wheels .
	@$(python) -m pip download --quiet --only-binary :all: --require-hashes --dest dist/$(archive)/wheels -r deploy/requirements.lock
	@$(python) -m lab.release sbom dist/$(archive)/wheels
	@cp -rL deploy docs prometheus dist/$(archive) && cp dashboards/*.json dist/$(archive)/dashboards
	@tar -C dist --owner=0 --group=0 -czf dist/$(archive).tar.gz $(archive) && rm -r dist/$(archive) && ls dist/$(archive).tar.gz

fuzz: ## Made-up input for every parser that reads what a stranger writes: FUZZ inputs each (20000); make test runs 300
	@lab/install.sh test
	@FUZZ=$(or $(FUZZ),20000) exec $(python) -m pytest --timeout 1800 --durations 0 tests/fuzz

audit: ## Known advisories on what is pinned, from a file: ADVISORIES=all.zip (OSV's archive for PyPI); fetches nothing
	@lab/install.sh lint
	@exec $(python) -m lab.release audit $(ADVISORIES)

test: ## Every test; says what it leaves out if servers are missing
	@lab/install.sh test
	@exec $(python) -m pytest -n 3 --dist loadfile --no-loadscope-reorder $(PYTEST)

versions: ## The tests that depend on a version, on the oldest and newest of each program and Python; about ten minutes
	@lab/install.sh test
	@exec $(python) -m lab.versions

try-install: ## Run the commands of docs/install.md in throw-away roots and networks; as root, 4 GB of memory, minutes
	@lab/install.sh test
	@which debootstrap ip curl systemd-analyze >/dev/null || \
	    { echo "==> Installing Debian's debootstrap, iproute2, curl" && apt-get install -y -qq debootstrap iproute2 curl >/dev/null; }
	@exec unshare --mount --pid --fork --kill-child --mount-proc $(python) -m tests.install

incidents: ## One outage is one incident, through restarts, at the shipped intervals; takes half an hour
	@lab/install.sh test
	@exec $(python) -m pytest -q -m long tests/live/test_incidents.py

victoriametrics: ## A pair writes to VictoriaMetrics: every panel and rule, a restart and an outage of it; takes minutes
	@lab/install.sh test
	@$(newer-victoriametrics) exec $(python) -m pytest -q -s -m long tests/live/test_victoriametrics_pair.py

checklist: ## Break everything that the checklist watches, one thing at a time, and see exactly that item fail; half an hour (ITEMS="A1 B3")
	@lab/install.sh test
	@PROSODY=$$(lab/prosody.sh) && export PROSODY && \
	    exec $(python) -m pytest -q -rA --timeout 3600 \
	    $(foreach item,$(ITEMS),'$(checklist)::$(one-item)[$(item)]') $(if $(ITEMS),,$(checklist))

mutants: ## Break every rule in every small way; its promtool tests must notice; takes minutes
	@lab/install.sh test
	@exec $(python) -m tests.alerts.mutation

generate: ## Write everything that is generated and committed
	@lab/install.sh lint
	$(python) -m alerts.generate
	$(python) -m alerts.scraping
	$(python) -m alerts.documents
	$(python) -m check.documents
	PYTHONPATH=. .venv/bin/generate-dashboards $(wildcard dashboards/*.dashboard.py)

lint: ## Style, types, Prometheus' configuration, and that generated files are up to date
	@lab/install.sh lint
	$(python) -m ruff check $(sources)
	$(python) -m ruff format --check $(sources)
	$(python) -m mypy $(sources)
	$(python) -m tests.prose
	.venv/bin/codespell $$(git ls-files)
	$(python) -m alerts.generate --check
	$(call if-there,promtool,check rules $(wildcard alerts/rules/*.yaml))
	$(call if-there,promtool,check config $(wildcard prometheus/prometheus*.yml))
	$(call if-there,amtool,check-config prometheus/alertmanager.yml)
	$(call if-there,shellcheck,lab/install.sh lab/versions.sh lab/prosody.sh lab/servers/machine.sh $(wildcard deploy/hosts/commeazy-*) .ci/run)
	@before=$$($(changes)) && $(MAKE) --no-print-directory generate && [[ $$($(changes)) == "$$before" ]] || \
	    { echo "make generate changed files: look at them and commit them" >&2; git status --short >&2; exit 1; }

bench: ## What scrapes, probes, pushes, promises and panels cost, in ratios; takes minutes
	@lab/install.sh demo
	@$(python) -m bench.prosody
	@PROSODY=$$(lab/prosody.sh) $(python) -m bench.presence
	@$(python) -m bench.certificates
	@$(python) -m bench.coturn
	@$(python) -m bench.synthetic
	@$(python) -m bench.push_gateway
	@$(python) -m bench.promises
	@$(python) -m bench.panels

drill: ## Break the demo once for every alert, and follow each to its receiver; takes an hour (ALERTS="ProsodyDown ...")
	@lab/install.sh demo
	@PROSODY=$$(lab/prosody.sh) && export PROSODY && exec $(python) -m lab.drill $(ALERTS)

scale: ## Real users in great number, USERS=10000: writes docs/scale-report.md; GUARD=1: short; TARGET=wss://... ACCOUNTS=FILE CA=FILE
	@lab/install.sh demo
	@PROSODY=$$(lab/prosody.sh) && export PROSODY && exec $(python) -m lab.scale --users $(or $(USERS),10000) \
	    $(if $(GUARD),--guard) $(if $(TARGET),--target $(TARGET) --accounts $(ACCOUNTS)) $(if $(CA),--ca $(CA))

scaling: ## How many nodes one Prometheus carries, with simulated nodes, and VictoriaMetrics beside it: writes docs/scaling-report.md; ten minutes (PARTS="storage 5 100 200")
	@lab/install.sh test
	@$(newer-victoriametrics) exec $(python) -m bench.scaling --victoriametrics $$(lab/versions.sh --which sid victoria-metrics) $(PARTS)

promises: ## Kill a node of the lab: one page that names cause and promise, and the budget falls by what was lost; five minutes
	@lab/install.sh demo
	@exec $(python) -m lab.drill.promises

soak: ## Ten minutes of churn, then 200,000 pushes (or PUSHES) and ten quiet minutes
	@lab/install.sh demo
	@$(python) -m bench.soak
	@exec $(python) -m bench.push_gateway soak $(PUSHES)

loss: ## What becomes of pushes while a provider misbehaves: writes docs/push-loss-report.md; takes some minutes
	@lab/install.sh test
	@exec $(python) -m bench.push_loss

lock: ## Pin the newest versions of all dependencies in requirements.lock, and the hosts' in deploy/ (needs uv)
	@command -v uv >/dev/null || { echo "make lock needs uv: https://docs.astral.sh/uv/" >&2; exit 1; }
	uv pip compile --quiet --universal --python-version 3.11 --all-extras --generate-hashes --upgrade \
	    --custom-compile-command "make lock" --output-file requirements.lock pyproject.toml
	uv pip compile --quiet --universal --python-version 3.11 --extra certificates --extra checklist --extra gateway --generate-hashes \
	    --constraint requirements.lock --custom-compile-command "make lock" --output-file deploy/requirements.lock pyproject.toml

clean: ## Remove everything that can be made again
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .versions dist screenshots
	find $(sources) -name __pycache__ -prune -exec rm -rf {} +
