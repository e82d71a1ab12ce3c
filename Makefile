# SPDX-License-Identifier: Apache-2.0
# `make help` says what there is.

# Linked-in OpenSSL, libpq and SQLite by default; FEATURES=system takes the system's.
FEATURES ?= bundled
ifeq ($(FEATURES),system)
CARGO_FEATURES := --no-default-features
else ifeq ($(FEATURES),bundled)
CARGO_FEATURES :=
else
$(error FEATURES is "bundled" or "system", not "$(FEATURES)")
endif

# One profile for everything that we depend on, so that the linked-in OpenSSL is compiled once.
CARGO_FLAGS := --release --locked $(CARGO_FEATURES)
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
PREFIX ?= /usr/local
PACKAGES := $(TARGET_DIR)/packages
KEEP ?= 0
ARGS ?=

.PHONY: help demo test build load selinux bench install packages rootfs lint format-check dependencies

help: ## what there is
	@echo "make demo [KEEP=1]    root, relay and three nodes on this machine, an outage, a summary"
	@echo "make test             everything that CI runs (installs what is missing)"
	@echo "make build            relayd and agent, in $(TARGET_DIR)/release/"
	@echo "make load ARGS=...    load generator; ARGS=--help says more, for instance ARGS='ingest'"
	@echo "make bench            speed of the parser and of the other hot paths"
	@echo "make install          relayd and agent into DESTDIR/PREFIX/sbin and bin (PREFIX=$(PREFIX))"
	@echo "make packages         Debian and RPM packages and the archive, in $(PACKAGES)/"
	@echo "make rootfs           a container's root file system, in $(PACKAGES)/container/"
	@echo
	@echo "FEATURES=system links the system's OpenSSL, libpq and SQLite instead of compiling them in."

demo: programs ## the main job, for a newcomer
	@$(TARGET_DIR)/release/demo $(if $(filter-out 0,$(KEEP)),--keep)

# Tests need a daemon that does the right thing, not a fast one: optimising it takes ten minutes. The agent is small by
# optimisation, which is tested. What we depend on is optimised as always, and compiled once. `make test QUICK=` is for programs as they are shipped.
test: QUICK := $(foreach crate,relayd tests diesel,--config profile.release.package.$(crate).opt-level=0)
# Most tests wait for servers rather than compute: on few cores more of them than cores go on at a time.
test: export RUST_TEST_THREADS ?= $(shell cores=$$(nproc); echo $$((cores > 4 ? cores : 4)))
test: dependencies format-check lint system-programs ## all that CI runs
	cargo test --workspace --no-fail-fast $(CARGO_FLAGS) $(QUICK)

.PHONY: programs system-programs toolchain
programs: toolchain
	@echo "Building (the first time takes some minutes: OpenSSL, libpq and SQLite are compiled in)"
	cargo build --workspace --bins $(CARGO_FLAGS)

# What packages are made from: linked with the libraries of the system. In the same target directory, so that only what
# depends on these libraries is compiled once more; then put aside, because the next build has the same names.
system-programs:
	cargo build --workspace --bins --release --locked --no-default-features $(QUICK)
	install -D -t $(TARGET_DIR)/release/system $(TARGET_DIR)/release/relayd $(TARGET_DIR)/release/agent

toolchain:
ifeq ($(FEATURES),bundled)
	@perl -MFindBin -MIPC::Cmd -e 1 2>/dev/null || { echo "perl and its modules configure the OpenSSL that is compiled in: apt-get install perl, or FEATURES=system" >&2; exit 1; }
endif

build: programs ## the programs

format-check:
	cargo fmt --all --check

lint:
	cargo clippy --workspace --all-targets $(CARGO_FLAGS) -- -D warnings

load: programs ## measures with simulated nodes
	@$(TARGET_DIR)/release/load $(ARGS)

selinux: ## the SELinux module for the policy of this machine, in target/selinux
	@$(MAKE) --no-print-directory -C packaging/selinux OUT=$(abspath $(TARGET_DIR))/selinux

bench: ## speed of single parts
	cargo bench -p relayd --bench "*" --locked $(CARGO_FEATURES) $(if $(ARGS),-- $(ARGS))

install: programs ## DESTDIR and PREFIX as usual
	install -D -m 0755 $(TARGET_DIR)/release/relayd $(DESTDIR)$(PREFIX)/sbin/relayd
	install -D -m 0755 $(TARGET_DIR)/release/agent $(DESTDIR)$(PREFIX)/bin/agent

packages: system-programs ## for Debian, for RPM systems, and for all others
	@$(MAKE) --no-print-directory programs FEATURES=bundled
	packaging/build-deb $(TARGET_DIR)/release/system $(PACKAGES)
	packaging/build-rpm $(TARGET_DIR)/release/system $(PACKAGES)
	packaging/build-tarball $(TARGET_DIR)/release $(PACKAGES)
	@ls $(PACKAGES)

rootfs: programs ## to run with podman, systemd-nspawn or an OCI runtime
	packaging/build-rootfs $(TARGET_DIR)/release $(PACKAGES)/container

dependencies: ## programs that the tests run, from Debian
	@tests/install-dependencies
