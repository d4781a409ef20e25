# Everything a person types. Each target works on a fresh machine that has Rust
# and a C compiler; the rest is fetched or built into the user's cache.

.DEFAULT_GOAL := help
.PHONY: help demo test simulate model faults mutants bench lint assets toolchain

CARGO ?= cargo

# Read by the demo. ONCE=1 ends it after the story; DEMO_KUBECONFIG names a
# cluster of your own to run it in.
export ONCE DEMO_KUBECONFIG

# How often `make faults` runs each row (3) and `make bench` measures (5), and how many worlds `make simulate` goes through
# (100000).
RUNS ?=

# What `make mutants` breaks, and the tool it does so with.
FILE ?= src/domain/**
MUTANTS = $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/secret-version-operator/tools-cargo-mutants-27.1.0

# How many tests go at the same time: more than there are cores, because most of them wait for processes.
export RUST_TEST_THREADS ?= 6

# Says where cargo put the kit, whatever the target folder. Everything is compiled together: built alone the kit would want
# its dependencies with other features, and so a second time.
KIT = $$($(CARGO) build --workspace --bins --quiet --message-format=json-render-diagnostics \
	| sed -n 's|.*"executable":"\([^"]*/kit\)".*|\1|p')

help: ## Show this list
	@echo "make TARGET, where TARGET is one of"
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  \1|\2/p' Makefile | column -t -s '|' 2>/dev/null \
		|| sed -n 's/^\([a-z]*\):.*## /  \1: /p' Makefile

demo: toolchain ## Tell the whole story in the terminal, then stay up to play (ONCE=1: end by itself)
	@echo "make demo compiles the operator, the simulator and the kit (about 3 minutes on two cores,"
	@echo "once) and builds a control plane (about 8 minutes, once). Later runs start in seconds."
	@$(CARGO) build --workspace --bins
	@exec "$(KIT)" demo

test: toolchain ## Build what is missing and run every test
	@echo "make test compiles the workspace (about 5 minutes on two cores, once), builds a control"
	@echo "plane (about 8 minutes, once), then runs all tests (some minutes)."
	$(CARGO) build --workspace --bins
	@"$(KIT)" assets
	$(CARGO) test --workspace

simulate: toolchain ## Live through 100000 simulated worlds (RUNS=n: that many), and find every flaw put in on purpose
	SVO_SIM_RUNS=$(or $(RUNS),100000) $(CARGO) test --workspace --profile simulate --test simulation -- --nocapture

model: toolchain ## Explore the protocol's model in its long form, and break it in every place
	$(CARGO) build --workspace --bins
	$(CARGO) run --package protocol-model -- worlds --full
	$(CARGO) run --package protocol-model -- breaks

faults: toolchain ## Run each fault three times (RUNS=n: that often) and print what came of it
	@echo "make faults kills the operator at every effect and has the remote lie to it, $(or $(RUNS),3) times each:"
	@echo "more than a quarter of an hour on two cores, once everything is compiled and the control plane is built."
	$(CARGO) build --workspace --bins
	@"$(KIT)" assets
	SVO_FAULT_RUNS=$(or $(RUNS),3) $(CARGO) test --workspace --test faults -- --nocapture

mutants: toolchain ## Break the rules in hundreds of ways (FILE=src/domain/NAME.rs: those of one file) and list what no test sees
	@echo "make mutants compiles the library anew for each way: about two hours on two cores"
	@echo "for all of them, some minutes for one file. What it lists is in target/mutants.out/missed.txt."
	@test -x "$(MUTANTS)/bin/cargo-mutants" || env -u CARGO_TARGET_DIR CARGO_PROFILE_DEV_DEBUG=0 \
		$(CARGO) install --quiet --locked --debug --root "$(MUTANTS)" cargo-mutants@$(lastword $(subst -, ,$(MUTANTS)))
	PROPTEST_MAX_SHRINK_ITERS=0 PROPTEST_DISABLE_FAILURE_PERSISTENCE=1 CARGO_TARGET_DIR="$(CURDIR)/target/mutants" \
		"$(MUTANTS)/bin/cargo-mutants" mutants --file "$(FILE)"

bench: toolchain ## Measure the operator beside the least that anybody could do (RUNS=n: so many rounds), and draw docs/benchmarks
	@echo "make bench compiles for release (about 5 minutes on two cores, once), and measures for hours, on a machine"
	@echo "that does nothing else: five rounds with up to fifty thousand resources. RUNS=1 takes some of them."
	$(CARGO) build --workspace --bins
	@"$(KIT)" assets
	@for scenario in cold "cold --latency-ms=20 --sizes=1000,10000" create standing limited deletion foreign; do \
		$(CARGO) run --package bench -- $$scenario --rounds $(or $(RUNS),5) || exit 1; \
	done

lint: toolchain ## Check format, lints and, where cargo-deny is installed, licences and sources
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- --deny warnings
	@if command -v cargo-deny >/dev/null; then \
		$(CARGO) deny check bans licenses sources; \
	else \
		echo "cargo-deny is not installed: licences and sources were not checked"; \
	fi

assets: toolchain ## Build the control plane's binaries if they are missing, and print their paths
	@$(CARGO) build --workspace --bins
	@"$(KIT)" assets

toolchain:
	@command -v $(CARGO) >/dev/null || { \
		echo "Rust is missing: install it from https://rustup.rs; it then fetches the version that"; \
		echo "rust-toolchain.toml pins by itself."; \
		exit 1; \
	}
	@command -v cc >/dev/null || { \
		echo "A C compiler is missing, which links Rust programs: apt-get install gcc libc6-dev,"; \
		echo "dnf install gcc, or xcode-select --install."; \
		exit 1; \
	}
