# Ambar. The two commands: `make demo` and `make test`. The daily ones: see `make help`.

MAKEFLAGS += --no-builtin-rules
SHELL := /bin/bash
.DEFAULT_GOAL := all

BUILD   ?= build
PREFIX  ?= /usr/local
CC      := $(if $(filter default undefined,$(origin CC)),gcc,$(CC))
VERSION := $(shell cat VERSION)
GIT_REVISION := $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
# As istioctl prints it: Clean, Modified (tracked files differ from the revision) or Unknown (no git here).
BUILD_STATUS := $(shell changes=$$(git status --porcelain --untracked-files=no 2>/dev/null) \
                && { test -z "$$changes" && echo Clean || echo Modified; } || echo Unknown)

# ---- what is built ---------------------------------------------------------------------------------------------

# In this order a folder includes only itself and later ones; mesh only base. tests/check_includes.py enforces it.
LAYERS   := kube xds telemetry http tls net mesh base
PROGRAM_NAMES := ztunnel ambard ambar-cni ambarctl
PROGRAMS = $(foreach program,$(PROGRAM_NAMES),$(if $(wildcard src/$($(program)_FOLDER)/main.c),$(program)))
ztunnel_FOLDER   := ztunnel
ambard_FOLDER    := ambard
ambar-cni_FOLDER := cni
ambarctl_FOLDER  := ambarctl

# ipsec-mb makes records cheaper where it exists (amd64); OpenSSL does them everywhere. IPSEC_MB=no builds without it.
ifndef IPSEC_MB
IPSEC_MB := $(shell printf '\043include <intel-ipsec-mb.h>\nint main(void) { return 0; }' | \
            $(CC) -x c - -lIPSec_MB -o /dev/null 2>/dev/null && echo yes || echo no)
endif

PACKAGES := openssl libnghttp2 libprotobuf-c jansson libxxhash libfyaml libcap-ng libseccomp libcares zlib

# ---- how ---------------------------------------------------------------------------------------------------------

WARNINGS := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla \
            -Wcast-qual -Wwrite-strings -Wundef -Wformat=2 -Wno-format-nonliteral
# Generated protobuf code is not ours to warn about.
HARDENING := -fstack-protector-strong -fstack-clash-protection -fPIE -ftrivial-auto-var-init=zero
ifneq ($(filter -fsanitize%,$(SANITIZE)),)
OPTIMISE  := -O1 -fno-omit-frame-pointer
# Without full optimisation gcc no longer sees the ranges of what is printed.
WARNINGS  += -Wno-format-truncation
else
OPTIMISE  := -O2
HARDENING += -D_FORTIFY_SOURCE=2
endif
ifeq ($(shell uname -m),x86_64)
HARDENING += -fcf-protection=full
endif
# gcc 11 and older lack this switch; clang 14 wants an extra flag for it.
# clang looks into the macros of system headers, some of which (OpenSSL's) cast const away.
ifneq ($(findstring clang,$(CC)),)
HARDENING := $(filter-out -ftrivial-auto-var-init=zero,$(HARDENING))
WARNINGS  := $(filter-out -Wcast-qual -Wno-format-truncation,$(WARNINGS))
endif

CPPFLAGS_ALL := -Isrc -I$(BUILD)/generated -D_GNU_SOURCE \
                $(shell pkg-config --cflags $(PACKAGES) 2>/dev/null) $(CPPFLAGS)
CFLAGS_ALL   := -std=gnu17 -g $(OPTIMISE) $(WARNINGS) $(HARDENING) $(SANITIZE) $(CFLAGS)
LDFLAGS_ALL  := -pie -Wl,-z,relro,-z,now,-z,noexecstack $(SANITIZE) $(LDFLAGS)
LIBRARIES    := $(shell pkg-config --libs $(PACKAGES) 2>/dev/null) -lpthread -lm

ifeq ($(IPSEC_MB),yes)
CPPFLAGS_ALL += -DAMBAR_HAS_IPSEC_MB
LIBRARIES    += -Wl,--as-needed -lIPSec_MB -Wl,--no-as-needed
endif

PROTOS          := $(wildcard proto/*.proto)
GENERATED_C     := $(PROTOS:proto/%.proto=$(BUILD)/generated/proto/%.pb-c.c)
GENERATED_H     := $(GENERATED_C:.c=.h)
GENERATED_O     := $(GENERATED_C:.c=.o)

sources_of = $(sort $(wildcard src/$(1)/*.c))
objects_of = $(patsubst %.c,$(BUILD)/%.o,$(call sources_of,$(1)))

LAYER_LIBRARIES := $(LAYERS:%=$(BUILD)/lib/lib%.a)
PROGRAM_BINARIES := $(PROGRAMS:%=$(BUILD)/bin/%)

# The packages must be there before pkg-config can say where they are: targets that install start make anew.
.PHONY: all libs
all: $(PROGRAM_BINARIES)
libs: $(LAYER_LIBRARIES)

$(BUILD)/generated/proto/%.pb-c.c $(BUILD)/generated/proto/%.pb-c.h: proto/%.proto
	@mkdir -p $(@D)
	@echo "  PROTOC  $<"
	@protoc-c --c_out=$(BUILD)/generated/proto -Iproto $<

$(GENERATED_O): %.o: %.c $(GENERATED_H)
	@echo "  CC      $<"
	@$(CC) -I$(BUILD)/generated -I$(BUILD)/generated/proto $(shell pkg-config --cflags libprotobuf-c 2>/dev/null) \
		-std=gnu17 -g $(OPTIMISE) $(HARDENING) $(SANITIZE) -c $< -o $@

$(BUILD)/src/%.o: src/%.c | $(GENERATED_H)
	@mkdir -p $(@D)
	@echo "  CC      $<"
	@$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) -DAMBAR_VERSION='"$(VERSION)"' -DAMBAR_GIT_REVISION='"$(GIT_REVISION)"' \
		-DAMBAR_BUILD_STATUS='"$(BUILD_STATUS)"' -MMD -MP -c $< -o $@

# What names the revision is built again when it changes.
REVISION := $(VERSION) $(GIT_REVISION) $(BUILD_STATUS)
REVISION_STAMP := $(BUILD)/revision
.PHONY: always
$(REVISION_STAMP): always
	@mkdir -p $(@D)
	@echo '$(REVISION)' | cmp -s - $@ || echo '$(REVISION)' > $@
$(patsubst src/%.c,$(BUILD)/src/%.o,$(shell grep -rlE 'AMBAR_(VERSION|GIT_REVISION|BUILD_STATUS)' src --include=*.c)): \
	$(REVISION_STAMP)

define layer_rule
$(BUILD)/lib/lib$(1).a: $(call objects_of,$(1)) $(if $(filter xds,$(1)),$(GENERATED_O))
	@mkdir -p $$(@D)
	@rm -f $$@
	@ar rcs $$@ $$^
endef
$(foreach layer,$(LAYERS),$(eval $(call layer_rule,$(layer))))

define program_rule
$(BUILD)/bin/$(1): $(call objects_of,$($(1)_FOLDER)) $(LAYER_LIBRARIES)
	@mkdir -p $$(@D)
	@echo "  LINK    $$@"
	@$(CC) $(LDFLAGS_ALL) -o $$@ $(call objects_of,$($(1)_FOLDER)) -Wl,--start-group $(LAYER_LIBRARIES) -Wl,--end-group $(LIBRARIES)
endef
$(foreach program,$(PROGRAMS),$(eval $(call program_rule,$(program))))

# ---- unit tests: tests/unit/<folder>/test_<thing>.c, one cmocka program each --------------------------------------
# A test of a program's folder (ztunnel, ambard, cni) links that folder's objects without its main.c.

UNIT_SOURCES  := $(sort $(wildcard tests/unit/*/test_*.c))
UNIT_BINARIES := $(UNIT_SOURCES:tests/unit/%.c=$(BUILD)/tests/unit/%)
program_objects_without_main = $(filter-out %/main.o,$(call objects_of,$(1)))

$(BUILD)/tests/unit/%.o: tests/unit/%.c | $(GENERATED_H)
	@mkdir -p $(@D)
	@echo "  CC      $<"
	@$(CC) $(CPPFLAGS_ALL) -Itests $(CFLAGS_ALL) -Wno-missing-prototypes -MMD -MP -c $< -o $@

define unit_rule
$(BUILD)/tests/unit/$(1)/%: $(BUILD)/tests/unit/$(1)/%.o $(if $(filter $(1),$(LAYERS)),,$(call program_objects_without_main,$(1))) $(LAYER_LIBRARIES)
	@echo "  LINK    $$@"
	@$(CC) $(LDFLAGS_ALL) -o $$@ $$(filter %.o,$$^) -Wl,--start-group $(LAYER_LIBRARIES) -Wl,--end-group $(LIBRARIES) -lcmocka
endef
$(foreach folder,$(sort $(patsubst tests/unit/%/,%,$(dir $(UNIT_SOURCES)))),$(eval $(call unit_rule,$(folder))))

.PHONY: unit-binaries unit
unit-binaries: $(UNIT_BINARIES)
unit: $(UNIT_BINARIES)
	@tests/run_unit.sh $(UNIT_BINARIES)

# ---- fuzz targets: tests/fuzz/<folder>/fuzz_<thing>.c, clang's libFuzzer; corpus beside it in corpus/fuzz_<thing>/ ----

T ?= 60
FUZZ_SOURCES  := $(sort $(wildcard tests/fuzz/*/fuzz_*.c))
FUZZ_BUILD    := build-fuzz
.PHONY: fuzz fuzz-binaries
fuzz:
	@$(MAKE) --no-print-directory CC=clang BUILD=$(FUZZ_BUILD) SANITIZE='-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined' fuzz-binaries
	@tests/run_fuzz.sh $(FUZZ_BUILD) $(T)

define fuzz_rule
$(BUILD)/tests/fuzz/$(1): tests/fuzz/$(1).c $(wildcard tests/fuzz/$(firstword $(subst /, ,$(1)))/*.h) $(if $(filter $(firstword $(subst /, ,$(1))),$(LAYERS)),,$(call program_objects_without_main,$(firstword $(subst /, ,$(1))))) $(LAYER_LIBRARIES)
	@mkdir -p $$(@D)
	@echo "  FUZZ    $$@"
	@$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) -Wno-missing-prototypes -fsanitize=fuzzer $(LDFLAGS_ALL) -o $$@ $$< $$(filter %.o,$$^) -Wl,--start-group $(LAYER_LIBRARIES) -Wl,--end-group $(LIBRARIES)
endef
$(foreach target,$(FUZZ_SOURCES:tests/fuzz/%.c=%),$(eval $(call fuzz_rule,$(target))))
fuzz-binaries: $(FUZZ_SOURCES:tests/fuzz/%.c=$(BUILD)/tests/fuzz/%)

# ---- benchmark tools: bench/*.c, one program each -------------------------------------------------------------------

BENCH_BINARIES := $(patsubst bench/%.c,$(BUILD)/bench/%,$(wildcard bench/*.c))
$(BUILD)/bench/%: bench/%.c $(LAYER_LIBRARIES)
	@mkdir -p $(@D)
	@echo "  LINK    $@"
	@$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $< -Wl,--start-group $(LAYER_LIBRARIES) -Wl,--end-group $(LIBRARIES)
.PHONY: bench-binaries
bench-binaries: $(BENCH_BINARIES)

# ---- the two commands ----------------------------------------------------------------------------------------------

# Files run beside each other: most of a scenario is waiting.
PYTEST  := /usr/bin/python3 -m pytest -q -p no:cacheprovider --rootdir=. -W ignore -n 3 --dist loadfile
JOBS    ?= $(shell nproc)
RUN     := $(MAKE) --no-print-directory -j$(JOBS)
ASAN    := BUILD=build-asan SANITIZE='-fsanitize=address,undefined -fno-sanitize-recover=undefined'
TSAN    := BUILD=build-tsan SANITIZE=-fsanitize=thread
SANITIZER_OPTIONS := ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1 \
                     UBSAN_OPTIONS=print_stacktrace=1 TSAN_OPTIONS=halt_on_error=1
FUZZ_SECONDS ?= 60
# Tests of what threads share.
THREADED := base/test_log base/test_qsbr base/test_persistent_map net/test_loop telemetry/test_metric mesh/test_publication \
            xds/test_certificate_store tls/test_secret_memory tls/test_verified_chains tls/test_revocation
THREADED += ztunnel/test_live_walk ztunnel/test_source_accounts mesh/test_workload
THREADED_BINARIES = $(filter $(addprefix %/,$(THREADED)),$(UNIT_BINARIES))

phase = @printf '\n== %s\n' '$(1)'; start=$$(date +%s); $(2) && printf '   (%s: %ss)\n' '$(1)' $$(( $$(date +%s) - start ))

.PHONY: deps test test-phases demo bench scenarios sanitize sanitize-unit tsan lint format coverage
deps:
	@tests/install_packages.sh

demo: deps
	@$(RUN) all
	@/usr/bin/python3 tests/lab/demo.py

test: deps
	@$(MAKE) --no-print-directory test-phases

test-phases:
	$(call phase,build,$(RUN) all unit-binaries bench-binaries)
	$(call phase,includes,/usr/bin/python3 tests/check_includes.py)
	$(call phase,unit tests,$(MAKE) --no-print-directory unit)
	$(call phase,scenarios,$(MAKE) --no-print-directory scenarios)
	$(call phase,both under AddressSanitizer and UBSan,$(MAKE) --no-print-directory sanitize)
	$(call phase,threaded tests under ThreadSanitizer,$(MAKE) --no-print-directory tsan)
	$(call phase,faults under load,$(MAKE) --no-print-directory faults SECONDS=$(FAULT_SECONDS))
	$(call phase,fuzzing,$(MAKE) --no-print-directory fuzz T=$(FUZZ_SECONDS))
	@printf '\nEverything passed.\n'

scenarios: all
	@AMBAR_BUILD=$(BUILD)/bin $(PYTEST) tests/scenario

sanitize:
	@$(RUN) $(ASAN) all unit-binaries bench-binaries
	@$(SANITIZER_OPTIONS) $(MAKE) --no-print-directory $(ASAN) unit
	@$(SANITIZER_OPTIONS) AMBAR_BUILD=build-asan/bin AMBAR_SANITIZED=1 $(PYTEST) -m 'not slow' tests/scenario

tsan:
	@$(RUN) $(TSAN) threaded-binaries ztunnel-binary bench-binaries
	@$(SANITIZER_OPTIONS) $(MAKE) --no-print-directory $(TSAN) threaded
	@$(SANITIZER_OPTIONS) AMBAR_BUILD=build-tsan/bin AMBAR_SANITIZED=1 $(PYTEST) -m threaded tests/scenario

# Lines of the layers that the unit tests run.
COVERAGE := BUILD=build-coverage OPTIMISE=-O0 SANITIZE=--coverage
coverage:
	@$(RUN) $(COVERAGE) unit-binaries
	@find build-coverage -name '*.gcda' -delete
	@$(MAKE) --no-print-directory $(COVERAGE) unit
	@/usr/bin/python3 tests/coverage.py build-coverage 85

# Faults under load (SEED=N replays an order, SECONDS=N is how long), and the long form in which memory must not grow.
FAULT_SECONDS ?= 75
.PHONY: faults soak
faults: all
	@AMBAR_BUILD=$(BUILD)/bin /usr/bin/python3 tests/faults/run.py

soak: all
	@AMBAR_BUILD=$(BUILD)/bin /usr/bin/python3 tests/faults/run.py --steady --seconds $(or $(SECONDS),7200)

.PHONY: threaded threaded-binaries ztunnel-binary
threaded-binaries: $(THREADED_BINARIES)
ztunnel-binary: $(BUILD)/bin/ztunnel
threaded: $(THREADED_BINARIES)
	@tests/run_unit.sh $(THREADED_BINARIES)

bench: deps
	@$(RUN) all bench-binaries
	@/usr/bin/python3 bench/run.py
	@/usr/bin/python3 bench/control_plane.py

# ---- daily ones ---------------------------------------------------------------------------------------------------

OUR_C := $(wildcard src/*/*.[ch] tests/unit/*/*.[ch] tests/fuzz/*/*.[ch] bench/*.c)

format:
	@clang-format -i $(OUR_C)

TIDY_CHECKS := -*,clang-analyzer-*,bugprone-*,-bugprone-easily-swappable-parameters,-bugprone-reserved-identifier,-bugprone-assignment-in-if-condition,-bugprone-sizeof-expression,-bugprone-narrowing-conversions,-bugprone-implicit-widening-of-multiplication-result,-clang-analyzer-security.insecureAPI.DeprecatedOrUnsafeBufferHandling,-clang-analyzer-valist.Uninitialized

lint: $(GENERATED_H)
	@/usr/bin/python3 tests/check_includes.py
	@clang-format --dry-run --Werror $(OUR_C) && echo "format: clean"
	@printf '%s\n' $(wildcard src/*/*.c) | xargs -P $(JOBS) -n 8 sh -c 'clang-tidy --quiet --warnings-as-errors="*" \
		--checks="$(TIDY_CHECKS)" "$$@" -- $(CPPFLAGS_ALL) -std=gnu17 -DAMBAR_VERSION=1 -DAMBAR_GIT_REVISION=1 -DAMBAR_BUILD_STATUS=1 2>/dev/null' clang-tidy && echo "clang-tidy: clean"

.PHONY: install image-root image clean help docs
SHARE := $(DESTDIR)$(PREFIX)/share
install: all
	@install -d $(DESTDIR)$(PREFIX)/bin $(SHARE)/ambar/examples $(SHARE)/ambar/deploy $(SHARE)/doc/ambar
	@install -m 755 $(PROGRAM_BINARIES) $(DESTDIR)$(PREFIX)/bin
	@cp -r examples/. $(SHARE)/ambar/examples
	@cp -r deploy/. $(SHARE)/ambar/deploy
	@install -m 644 README.md LICENSE $(wildcard docs/*.md) $(SHARE)/doc/ambar
	@echo "installed $(PROGRAMS) in $(DESTDIR)$(PREFIX)/bin"

# The root filesystem of ztunnel's image, without a container engine; deploy/Dockerfile takes it as it is.
image-root: $(BUILD)/bin/ztunnel $(BUILD)/bin/ambarctl
	@deploy/image_root.sh $^ $(BUILD)/image-root

image:
	@docker build -f deploy/Dockerfile --build-arg GIT_REVISION=$(GIT_REVISION) -t ambar-ztunnel:$(VERSION) .

# The reference page of settings, made from the code's own table.
docs: $(BUILD)/bin/ztunnel
	@{ printf '# Settings of ztunnel\n\nMade by `make docs` from the table in `src/ztunnel/configuration.c`.\n\n'; \
	   $(BUILD)/bin/ztunnel configuration-reference; } > docs/configuration.md

clean:
	@rm -rf build build-*

help:
	@printf '%s\n' \
	'make demo          install what is needed, build, and watch the mesh at work (KEEP=1 leaves it up)' \
	'make test          install what is needed, build, and pass every test' \
	'make               build the programs into build/bin' \
	'make unit          the unit tests                  make scenarios   real programs against real peers' \
	'make sanitize      both under ASan and UBSan       make tsan        threaded code under ThreadSanitizer' \
	'make fuzz T=600    fuzz every parser for T seconds make bench       measure against direct and plain relay' \
	'make format        clang-format                    make lint        includes, format, clang-tidy' \
	'make faults SEED=  break the mesh under load       make soak        the same for two hours, measuring growth' \
	'make coverage      lines that the unit tests run' \
	'make docs          make docs/configuration.md      make install     DESTDIR= PREFIX=/usr/local' \
	'make image-root    the root filesystem of ztunnel'\''s image, without a container engine' \
	'make image         the image, with docker'

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
