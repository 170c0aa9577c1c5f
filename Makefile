# SPDX-License-Identifier: BSD-3-Clause
# A thin front to meson. Every target installs what it lacks (as root) or says how to.

BUILD ?= build
PREFIX ?= /usr/local
ARGS ?=

.DEFAULT_GOAL := build
.PHONY: help build demo test bench lint soak fuzz verify defects install clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

build: ## build everything into build/
	@devtools/setup build
	@devtools/build $(BUILD)

demo: ## a rack on this machine: kill a node under load, with and without replication (ARGS="--help")
	@devtools/setup build lab
	@devtools/build $(BUILD)
	@/usr/bin/python3 lab/demo.py --build $(BUILD) $(ARGS)

test: ## everything that must pass: unit tests (gcc; clang with sanitizers), lint, smoke
	@devtools/setup all
	@devtools/test $(ARGS)

bench: ## packets, cycles and memory of one worker, replication on; also to build/bench/node.json (ARGS="--help")
	@devtools/setup build
	@devtools/build build-release -Dbuildtype=release -Dwerror=false -Dc_args=-march=native
	@mkdir -p build/bench
	@build-release/bench/tripod-bench node --output build/bench/node.json $(ARGS)

lint: ## formatting, licences, spelling, layering, clang-tidy
	@devtools/setup build lint
	@devtools/build $(BUILD)
	@devtools/lint --build $(BUILD)

soak: ## simulate seed after seed until a violation or ^C (ARGS="--seeds 1..1000")
	@devtools/setup build
	@devtools/build $(BUILD)
	@$(BUILD)/sim/tripod-sim sweep --seeds $$(date +%s)..9999999999 --jobs $$(nproc) --stop-after 1 $(ARGS)

fuzz: ## run every fuzzer for a while (ARGS=SECONDS, 30; "--keep SECONDS" adds to core/corpus)
	@devtools/setup build clang
	@devtools/fuzz $(ARGS)

verify: ## check the model of the protocol with larger bounds than make test (minutes to hours)
	@devtools/setup build
	@verify/run --full

defects: ## the test of the tests: each seeded mistake is found by the sweep (many minutes)
	@devtools/setup build
	@devtools/build build-defects -Ddefects=true
	@meson test -C build-defects --no-rebuild --suite defects --print-errorlogs

install: ## install below PREFIX (/usr/local; DESTDIR is heeded)
	@devtools/setup build
	@devtools/build build-release -Dbuildtype=release -Dwerror=false -Dc_args= -Dprefix=$(PREFIX)
	@meson install -C build-release --no-rebuild --quiet

clean: ## remove what was built
	rm -rf build build-asan build-defects build-fuzz build-release
