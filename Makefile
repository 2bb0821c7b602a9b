# GNU make. Every target can be called alone and does the set-up it needs by itself.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

OPENCV ?= system# system: the distribution's shared OpenCV; slim: a small static one built from Debian's source
FOR ?=#           make demo FOR=30s stops by itself with a summary
ARGS ?=#          more arguments for heron demo
FUZZTIME ?= 10s#  a fuzz target
CASES ?=#         of make test-vm; empty: all

export OPENCV

.PHONY: help demo test test-vm build bench torture fuzz setup lint clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

demo: build ## set-up, then a synthetic camera classified, the broker taken away and brought back (FOR=30s stops by itself)
	@exec bin/heron demo $(if $(FOR),--for $(FOR)) $(ARGS)

build: ## bin/heron and bin/heron-vision, with the libraries they open at run time under bin/lib (OPENCV=system)
	@scripts/setup.sh build
	@scripts/build.sh

test: ## set-up, then every test that this machine can run, and a list of what was skipped and why
	@scripts/setup.sh build test
	@scripts/build.sh
	@scripts/test.sh

test-vm: ## opt-in: a real V4L2 test camera in an emulated machine: stall, unplug, renumber (CASES="list frames": those only)
	@scripts/setup.sh build
	@scripts/build.sh
	@scripts/test-vm.sh $(CASES)

bench: ## the figures of the README, written to bench/out/
	@scripts/setup.sh build test bench
	@scripts/build.sh
	@bench/run.sh

torture: ## the long campaigns: power cuts, SIGKILLs, damaged files (tens of minutes)
	@scripts/setup.sh build test
	@scripts/build.sh
	@scripts/torture.sh

fuzz: ## every fuzz target for FUZZTIME (10s)
	@scripts/setup.sh go
	@scripts/fuzz.sh $(FUZZTIME)

setup: ## what all of the above need; says what it installs
	@scripts/setup.sh build test bench

lint: ## go vet and gofmt; advice from staticcheck and golangci-lint where they are installed
	@scripts/setup.sh go
	@scripts/lint.sh

clean: ## remove what was built (downloads stay in .cache/)
	rm -rf bin bench/out
