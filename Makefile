# SPDX-License-Identifier: BSD-2-Clause
#
# One make for everything.  `make help` lists what there is to do.
#
#   FOLDER/*.c      -> build/FOLDER.a, but for the file that holds main()
#   FOLDER/*.bpf.c  -> build/FOLDER/NAME.bpf.o and build/FOLDER/NAME.skel.h  (#include "NAME.skel.h")
#   tests/unit/test_*.c  -> a cmocka program each     tests/fuzz/fuzz_*.c -> a libFuzzer program each
#   tests/bpf/test_*.c   -> a cmocka program that needs root (BPF_PROG_TEST_RUN)
#   tests/netns/test_*   -> a script that needs root, run by tests/netns/run
#
# B=DIR builds elsewhere; SAN=1 builds with ASan and UBSan (B defaults to build-san then).

SHELL := /bin/bash
CC := gcc
CLANG ?= clang
BPFTOOL ?= $(firstword $(wildcard /usr/sbin/bpftool) bpftool)
PKGS := libbpf libnl-3.0 libnl-route-3.0 libmnl openssl libevent_core yaml-0.1 jansson
VERSION := 0.1.0

ifdef SAN
B ?= build-san
SANFLAGS := -fsanitize=address,undefined -fno-sanitize-recover=undefined
else
B ?= build
endif

WARN := -Wall -Wextra -Wshadow -Wundef -Wvla -Wcast-qual -Wstrict-prototypes -Wmissing-prototypes \
	-Wformat=2 -Wimplicit-fallthrough -Werror
CPPFLAGS += -I. -I$(B)/skel -D_GNU_SOURCE -DBATON_VERSION='"$(VERSION)"' $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
CFLAGS ?= -O2 -g
CFLAGS += -std=gnu11 $(WARN) -fno-strict-aliasing -fstack-protector-strong $(SANFLAGS)
LDLIBS += $(shell pkg-config --libs $(PKGS) 2>/dev/null) -lm
BPFFLAGS := -O2 -g -target bpf -mcpu=v3 -fno-strict-aliasing -Wall -Wextra -Werror -I. \
	-D__TARGET_ARCH_x86 -idirafter /usr/include/$(shell gcc -dumpmachine)

# Folders in the order of linking: each may use those after it.
FOLDERS := cli agent switch bgp control pop base lb
MAINS := control/controld.c switch/switchd.c agent/agentd.c cli/baton.c
PROGRAMS := $(addprefix $(B)/,$(foreach m,$(wildcard $(MAINS)),$(patsubst %d,baton-%d,$(basename $(notdir $(m))))))

BPF_SRC := $(wildcard $(addsuffix /*.bpf.c,$(FOLDERS)) tests/*/*.bpf.c)
SKELS := $(patsubst %.bpf.c,$(B)/skel/%.skel.h,$(notdir $(BPF_SRC)))
VPATH_BPF := $(sort $(dir $(BPF_SRC)))
LIB_SRC = $(filter-out $(MAINS) %.bpf.c,$(wildcard $(1)/*.c))
ARCHIVES := $(foreach f,$(FOLDERS),$(if $(call LIB_SRC,$(f)),$(B)/$(f).a))
GROUP = -Wl,--start-group $(ARCHIVES) -Wl,--end-group

UNIT := $(patsubst tests/%.c,$(B)/tests/%,$(wildcard tests/unit/test_*.c))
BPFTEST := $(patsubst tests/%.c,$(B)/tests/%,$(wildcard tests/bpf/test_*.c))
TOOLS := $(patsubst tests/%.c,$(B)/tests/%,$(wildcard tests/load/*.c))
BENCH := $(patsubst tests/%.c,$(B)/tests/%,$(wildcard tests/bench/bench_*.c))
FUZZ := $(patsubst tests/%.c,$(B)/tests/%,$(wildcard tests/fuzz/fuzz_*.c))

.PHONY: all
all: $(PROGRAMS) $(TOOLS)

# --- objects, archives, programs -------------------------------------------------------------------
$(B)/%.o: %.c | $(SKELS)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c $< -o $@

define archive_rule
$(B)/$(1).a: $(patsubst %.c,$(B)/%.o,$(call LIB_SRC,$(1)))
	@rm -f $$@ && ar rcs $$@ $$^
endef
$(foreach f,$(FOLDERS),$(eval $(call archive_rule,$(f))))

define program_rule
$(B)/$(patsubst %d,baton-%d,$(basename $(notdir $(1)))): $(B)/$(basename $(1)).o $(ARCHIVES)
	$$(CC) $$(CFLAGS) $$(LDFLAGS) $$< $$(GROUP) $$(LDLIBS) -o $$@
endef
$(foreach m,$(wildcard $(MAINS)),$(eval $(call program_rule,$(m))))

$(B)/tests/%: $(B)/tests/%.o $(ARCHIVES)
	$(CC) $(CFLAGS) $(LDFLAGS) $< $(GROUP) $(LDLIBS) -lcmocka -o $@

# --- eBPF ------------------------------------------------------------------------------------------
$(B)/vmlinux.h:
	@mkdir -p $(@D)
	$(BPFTOOL) btf dump file /sys/kernel/btf/vmlinux format c > $@.tmp && mv $@.tmp $@

define bpf_rule
$(B)/bpf/$(patsubst %.c,%.o,$(notdir $(1))): $(1) $(B)/vmlinux.h
	@mkdir -p $$(@D)
	$$(CLANG) $$(BPFFLAGS) -I$$(B) -MMD -MP -MF $$@.d -c $$< -o $$@
$(B)/skel/$(patsubst %.bpf.c,%.skel.h,$(notdir $(1))): $(B)/bpf/$(patsubst %.c,%.o,$(notdir $(1)))
	@mkdir -p $$(@D)
	$$(BPFTOOL) gen skeleton $$< > $$@.tmp && mv $$@.tmp $$@
endef
$(foreach s,$(BPF_SRC),$(eval $(call bpf_rule,$(s))))

# --- fuzzing (clang's libFuzzer, with ASan and UBSan; sources compiled apart) ------------------------
FUZZ_CFLAGS := -O1 -g -std=gnu11 -fno-strict-aliasing -fsanitize=fuzzer-no-link,address,undefined -Wno-unknown-warning-option
$(B)/fuzz/%.o: %.c | $(SKELS)
	@mkdir -p $(@D)
	$(CLANG) $(CPPFLAGS) $(FUZZ_CFLAGS) -MMD -MP -c $< -o $@
FUZZ_LIB := $(foreach f,$(filter-out cli,$(FOLDERS)),$(patsubst %.c,$(B)/fuzz/%.o,$(call LIB_SRC,$(f))))
$(B)/fuzz/all.a: $(FUZZ_LIB)
	@rm -f $@ && ar rcs $@ $^
$(B)/tests/fuzz/%: $(B)/fuzz/tests/fuzz/%.o $(B)/fuzz/all.a
	@mkdir -p $(@D)
	$(CLANG) -fsanitize=fuzzer,address,undefined $< $(B)/fuzz/all.a $(LDLIBS) -o $@

# --- tests -----------------------------------------------------------------------------------------
.PHONY: unit bpf fuzz-build
unit: $(UNIT)
	@for t in $^; do echo "== $$t"; $$t || exit 1; done
bpf: $(BPFTEST)
	@for t in $^; do echo "== $$t"; $$t || exit 1; done
fuzz-build: $(FUZZ)

.PHONY: clean
clean:
	rm -rf build build-san

-include $(shell find $(B) -name '*.d' 2>/dev/null)
.SECONDARY:
