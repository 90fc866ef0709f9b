# Every target does its own set-up. `make` alone lists them.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV ?= .venv
LOCK := $(VENV)/requirements-dev.txt

# The pinned tools come first; ansible.cfg is named because Ansible ignores it in a folder that others may write to.
export PATH := $(abspath $(VENV))/bin:$(PATH)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
# Ansible starts with UTF-8 only, which a bare system does not always set.
export LC_ALL := C.UTF-8
# Progress of long steps is printed when it happens, also into a file.
export PYTHONUNBUFFERED := 1

# The collection under its own name, for tools that import it (docs/architecture.md).
COLLECTION := .collections/ansible_collections/groundplane/kubeadm

LAB := python -m tests.lab
DEMO_INVENTORY := inventories/lab
KUBECTL := $(LAB) ssh master-1 kubectl --kubeconfig /etc/kubernetes/admin.conf

.PHONY: help venv demo test test-long lint types lint-python lint-yaml lint-ansible lint-vagrant sanity unit
.PHONY: molecule molecule-long e2e e2e-long verify bench lab-up lab-down lab-status build clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' Makefile

venv: $(LOCK) ## make .venv with the tools that requirements-dev.txt pins

$(LOCK): requirements-dev.txt
	@python3 -c 'import ensurepip' 2> /dev/null || tests/tools/apt_install python3-venv
	python3 -m venv --clear $(VENV)
	pip install --quiet --disable-pip-version-check --requirement requirements-dev.txt
	@cp requirements-dev.txt $@

demo: lab-up ## make nodes, build a cluster on them, show it
	ansible-playbook site.yml -i $(DEMO_INVENTORY)
	$(KUBECTL) get nodes -o wide
	$(KUBECTL) get pods --all-namespaces -o wide

test: venv ## every test; removes what the lab has running before and after
	@python tests/tools/stages.py --cleanup lab-down lint unit sanity molecule e2e

test-long: venv ## the test series that do not fit into `make test`
	@python tests/tools/stages.py --cleanup lab-down molecule-long e2e-long

lint: types lint-python lint-yaml lint-ansible lint-vagrant ## formatting, style and types of everything

types: venv ## types of the collection's own code and of the lab
	mypy $(COLLECTION)/plugins/module_utils
	mypy --package tests.acceptance --package tests.lab --package tests.tools

lint-python: venv
	ruff format --check
	ruff check
	vermin --quiet --no-tips --violations --target=3.8- plugins/module_utils plugins/modules

lint-yaml: venv
	yamllint --strict .
	antsibull-changelog lint

lint-ansible: venv
	ansible-lint

# Neither needs Vagrant, which most machines do not have.
lint-vagrant: venv
	@command -v ruby > /dev/null || tests/tools/apt_install ruby
	ruby -wc molecule/vagrant/Vagrantfile
	molecule syntax --scenario-name vagrant

sanity: venv ## the real ansible-test sanity
	python tests/tools/sanity.py

unit: venv ## unit tests with branch coverage
	pytest --cov --cov-report=term

molecule: venv ## the roles on nodes of the lab; molecule-NAME runs one scenario
	molecule test --scenario-name default

# They take the way that the clusters of e2e take; cluster is the one with a prediction on fresh nodes.
molecule-long: venv
	molecule test --scenario-name cluster
	molecule test --scenario-name ha
	molecule test --scenario-name canal

molecule-%: venv
	molecule test --scenario-name $*

e2e: venv ## real clusters on nodes of the lab
	pytest tests/e2e -m 'not long'

e2e-long: venv
	pytest tests/e2e -m long

verify: venv ## acceptance tests on a cluster of your own: INVENTORY=path, and IMAGE=image where there is no way out
	$(if $(INVENTORY),,$(error Found no INVENTORY; expected that of the cluster. To do: make verify INVENTORY=path))
	pytest molecule/shared/tests --hosts=ansible://k8s_cluster --ansible-inventory=$(INVENTORY) $(if $(IMAGE),--image=$(IMAGE))

bench: venv ## times of a run beside the same cluster made by hand
	python -m tests.bench.bench
	python -m tests.bench.fleet

lab-up: venv ## make the nodes of the demo, or bring them back up
	$(LAB) up

lab-down: venv ## remove everything the lab has on this machine but its cache
	$(LAB) down --all

lab-status: venv ## show the nodes and services of the lab
	$(LAB) status

build: venv ## the collection's archive, into build/
	ansible-galaxy collection build --force --output-path build

clean: ## remove what other targets wrote into the checkout
	rm -rf build .ansible .cache .coverage .mypy_cache .pytest_cache .ruff_cache tests/output $(VENV)
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
