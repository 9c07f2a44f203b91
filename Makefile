# SPDX-License-Identifier: BSD-2-Clause
#
# One make for everything.  `make help` lists what there is to do.
#
#   FOLDER/*.c      -> build/FOLDER.a, but for the file that holds main()
#   FOLDER/*.bpf.c  -> build/bpf/NAME.bpf.o and build/skel/NAME.skel.h  (#include "NAME.skel.h")
#   tests/unit/test_*.c  -> a cmocka program each     tests/fuzz/fuzz_*.c -> a libFuzzer program each
#   tests/bpf/test_*.c   -> a cmocka program that needs root (BPF_PROG_TEST_RUN)
#   tests/vm/*.c         -> a cmocka program that needs the kernel module, run in a VM by tests/vm/run
#   tests/netns/test_*   -> a script that needs root, run by tests/netns/run     tests/{netns,load}/*.c -> its tools
#   tests/golden/*       -> pairs of input and expected output, compared by tests/unit/test_*_golden.c
#
# B=DIR builds elsewhere; SAN=1 builds with ASan and UBSan (B defaults to build-san then).
# DEPS=no installs nothing.  T=NAME limits `make netns` to one test.  S=SECONDS is the length of one fuzzer.

SHELL := /bin/bash
# V=1 shows the commands themselves.
Q := $(if $(V),,@)
say = $(if $(V),@:,@echo '  $(1)	$(2)')
CC := gcc
CLANG ?= clang
BPFTOOL ?= $(firstword $(wildcard /usr/sbin/bpftool) bpftool)
PKGS := libbpf libnl-3.0 libnl-route-3.0 libmnl openssl libevent_core yaml-0.1 jansson libnghttp2
# llhttp: Debian 13 has a package; for Debian 12 deploy/install-deps unpacks that one here.
LLHTTP ?= /var/cache/baton/llhttp
LLHTTP_LIB := $(firstword $(wildcard $(LLHTTP)/usr/lib/*/libllhttp.a) -lllhttp)
VERSION := 0.1.0

ifdef SAN
B ?= build-san
SANFLAGS := -fsanitize=address,undefined -fno-sanitize-recover=undefined
# Programs for the kernel are not what is sanitised: they are shared with the ordinary build.
K ?= build
else
B ?= build
endif
K ?= $(B)

WARN := -Wall -Wextra -Wshadow -Wundef -Wvla -Wcast-qual -Wstrict-prototypes -Wmissing-prototypes \
	-Wformat=2 -Wimplicit-fallthrough -Werror
CPPFLAGS += -I. -isystem $(K)/skel -D_GNU_SOURCE -DBATON_VERSION='"$(VERSION)"' $(if $(wildcard $(LLHTTP)/usr/include),-isystem $(LLHTTP)/usr/include) \
	$(shell pkg-config --cflags $(PKGS) 2>/dev/null)
CFLAGS ?= -O2 -g
CFLAGS += -std=gnu11 $(WARN) -fno-strict-aliasing -fstack-protector-strong $(SANFLAGS)
LDLIBS += $(LLHTTP_LIB) $(shell pkg-config --libs $(PKGS) 2>/dev/null) -lm -pthread
BPFFLAGS := -O2 -g -target bpf -mcpu=v3 -fno-strict-aliasing -Wall -Wextra -Werror -I. \
	-D__TARGET_ARCH_x86 -idirafter /usr/include/$(shell gcc -dumpmachine)

# Folders in the order of linking: each may use those after it.
OBJCOPY ?= objcopy
FOLDERS := cli agent switch bgp app l7 control pop base lb
MAINS := control/controld.c switch/switchd.c agent/agentd.c l7/l7d.c cli/baton.c
PROGRAMS := $(addprefix $(B)/,$(foreach m,$(wildcard $(MAINS)),$(patsubst %d,baton-%d,$(basename $(notdir $(m))))))

BPF_SRC := $(wildcard $(addsuffix /*.bpf.c,$(FOLDERS)) l7/*/*.bpf.c tests/*/*.bpf.c)
SKELS := $(patsubst %.bpf.c,$(K)/skel/%.skel.h,$(notdir $(BPF_SRC)))
LIB_SRC = $(filter-out $(MAINS) %.bpf.c,$(wildcard $(1)/*.c $(1)/*/*.c))
ARCHIVES := $(foreach f,$(FOLDERS),$(if $(call LIB_SRC,$(f)),$(B)/$(f).a))
GROUP = -Wl,--start-group $(ARCHIVES) -Wl,--end-group

UNIT := $(patsubst tests/%.c,$(B)/tests/%,$(wildcard tests/unit/test_*.c))
VMTEST := $(patsubst tests/%.c,$(B)/tests/%,$(wildcard tests/vm/*.c))
BPFTEST := $(patsubst tests/%.c,$(B)/tests/%,$(wildcard tests/bpf/test_*.c))
TOOLS := $(patsubst tests/%.c,$(B)/tests/%,$(wildcard tests/load/*.c tests/netns/*.c))
BENCH := $(patsubst tests/%.c,$(B)/tests/%,$(wildcard tests/bench/bench_*.c))
FUZZ := $(patsubst tests/%.c,$(B)/tests/%,$(wildcard tests/fuzz/fuzz_*.c))

EXAMPLES := $(patsubst %.c,$(B)/%,$(wildcard examples/*.c))

.PHONY: all
all: $(PROGRAMS) $(TOOLS) $(EXAMPLES)

# --- objects, archives, programs -------------------------------------------------------------------
$(B)/%.o: %.c | $(SKELS)
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MD -MP -c $< -o $@

define archive_rule
$(B)/$(1).a: $(patsubst %.c,$(B)/%.o,$(call LIB_SRC,$(1)))
	@rm -f $$@ && ar rcs $$@ $$^
endef
$(foreach f,$(FOLDERS),$(eval $(call archive_rule,$(f))))

define program_rule
$(B)/$(patsubst %d,baton-%d,$(basename $(notdir $(1)))): $(B)/$(basename $(1)).o $(ARCHIVES)
	$$(call say,CC,$$@)
	$$(Q)$$(CC) $$(CFLAGS) $$(LDFLAGS) $$< $$(GROUP) $$(LDLIBS) -o $$@
endef
$(foreach m,$(wildcard $(MAINS)),$(eval $(call program_rule,$(m))))

# The library for programs that take connections: one object whose only names are its own.
$(B)/libbaton-app.a: $(B)/app/app.o $(addprefix $(B)/l7/,buffer.o secret.o handoff/carrier_local.o handoff/move_wire.o \
		tls/cert_fact.o tls/record.o tls/record_context.o tls/record_keys.o tls/record_state.o)
	$(call say,AR,$@)
	$(Q)$(LD) -r -o $(B)/app/baton_app.o $^
	$(Q)$(OBJCOPY) --wildcard --keep-global-symbol='baton_*' $(B)/app/baton_app.o
	$(Q)rm -f $@ && ar rcs $@ $(B)/app/baton_app.o
$(B)/examples/%: $(B)/examples/%.o $(B)/libbaton-app.a
	$(call say,CC,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $^ -lcrypto -lpthread -o $@

$(B)/tests/%: $(B)/tests/%.o $(ARCHIVES)
	$(call say,CC,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $< $(GROUP) $(LDLIBS) -lcmocka -o $@

# --- eBPF ------------------------------------------------------------------------------------------
$(K)/vmlinux.h:
	@mkdir -p $(@D)
	$(call say,BPFTOOL,$@)
	$(Q)$(BPFTOOL) btf dump file /sys/kernel/btf/vmlinux format c > $@.tmp && mv $@.tmp $@

define bpf_rule
$(K)/bpf/$(patsubst %.c,%.o,$(notdir $(1))): $(1) $(K)/vmlinux.h
	@mkdir -p $$(@D)
	$$(call say,CLANG,$$@)
	$$(Q)$$(CLANG) $$(BPFFLAGS) -I$$(K) -MMD -MP -MF $$@.d -c $$< -o $$@
$(K)/skel/$(patsubst %.bpf.c,%.skel.h,$(notdir $(1))): $(K)/bpf/$(patsubst %.c,%.o,$(notdir $(1)))
	@mkdir -p $$(@D)
	$$(call say,BPFTOOL,$$@)
	$$(Q)$$(BPFTOOL) gen skeleton $$< > $$@.tmp && mv $$@.tmp $$@
endef
$(foreach s,$(BPF_SRC),$(eval $(call bpf_rule,$(s))))

# --- fuzzing (clang's libFuzzer, with ASan and UBSan; sources compiled apart) ------------------------
FUZZ_CFLAGS := -O1 -g -std=gnu11 -fno-strict-aliasing -fsanitize=fuzzer-no-link,address,undefined -Wno-unknown-warning-option
$(B)/fuzz/%.o: %.c | $(SKELS)
	@mkdir -p $(@D)
	$(call say,CLANG,$@)
	$(Q)$(CLANG) $(CPPFLAGS) $(FUZZ_CFLAGS) -MD -MP -c $< -o $@
FUZZ_LIB := $(foreach f,$(filter-out cli,$(FOLDERS)),$(patsubst %.c,$(B)/fuzz/%.o,$(call LIB_SRC,$(f))))
$(B)/fuzz/all.a: $(FUZZ_LIB)
	@rm -f $@ && ar rcs $@ $^
$(B)/tests/fuzz/%: $(B)/fuzz/tests/fuzz/%.o $(B)/fuzz/all.a
	@mkdir -p $(@D)
	$(call say,CLANG,$@)
	$(Q)$(CLANG) -fsanitize=fuzzer,address,undefined $< $(B)/fuzz/all.a $(LDLIBS) -o $@

# --- tests -----------------------------------------------------------------------------------------
# tests/summary runs programs, keeps their output in RESULTS and counts what they report.
RESULTS ?= build/results
SUMMARY := tests/summary run
JOBS ?= $(shell nproc)
AGAIN = $(MAKE) --no-print-directory
# What computes runs while the virtual machines do; what has deadlines of a POP has the machine alone.
BESIDE_VM := unit golden model fuzz-short san
ALONE := bpf netns l7
ALL = for s in $(1); do $(AGAIN) $$s || echo $$s >> $(RESULTS)/late; done;

.PHONY: help deps check check-vm check-beside unit golden model bpf vm netns l7 fuzz-short fuzz san fuzz-build tests-build demo vm-long check-kasan bench-l4 bench-kmod bench-http bench-handoff handoff-long
help:
	@echo 'sudo make demo    install what is missing, build, raise a POP, drain all of it under load (4 minutes)'
	@echo 'sudo make check   install what is missing, build, run the tests (16 minutes)'
	@echo
	@echo 'make              build the daemons and the command into build/'
	@echo 'make unit         tests that need no root        make golden      texts in, messages out'
	@echo 'make bpf          eBPF programs under TEST_RUN   make netns       whole POPs in network namespaces [T=NAME]'
	@echo "make model        the hand-off's protocol in spin: it holds, and fails without any one of its safeguards"
	@echo 'make vm           the kernel module on two stock kernels, in VMs    make bench-kmod  module against eBPF'
	@echo 'make vm-long      the same with rows, moves and hand-off; a live POP changes its data path, eBPF to module and back, in a VM'
	@echo 'make check-kasan  the module under KASAN, lockdep and kmemleak (builds a kernel once)'
	@echo 'make san          unit tests, ASan and UBSan     make fuzz-short  every decoder, some seconds'
	@echo 'make l7           layer 7 against real programs  make bench-http  against nginx and HAProxy, 6 minutes'
	@echo '                                                 make bench-handoff  hand-off, to build/bench/handoff.json'
	@echo 'make handoff-long 10^5 hand-offs, bodies to 1 GB, faults at every step of a move (25 minutes)'
	@echo 'make fuzz         every decoder, S=600 seconds   make bench-l4    speed, to build/bench/l4.json'
	@echo 'make lint         clang-tidy, gcc -fanalyzer, cppcheck, shellcheck, SPDX    make format'
	@echo 'make man          build/man                      make install     DESTDIR= PREFIX=/usr'
	@echo 'make deps         what Debian 12 or 13 lacks     make clean'

deps:
ifneq ($(DEPS),no)
	@deploy/install-deps
endif

# Everything, even after a failure; the closing table is made from what ran.  (make starts anew after deps:
# pkg-config answers differently then.)
check: deps
	@rm -rf $(RESULTS) && mkdir -p $(RESULTS)
	@$(AGAIN) -j$(JOBS) all tests-build
	+@$(AGAIN) -j$$(($(JOBS) > 1 ? $(JOBS) + 1 : 1)) check-vm check-beside; $(call ALL,$(ALONE)) \
	 tests/summary total $(RESULTS) --suites unit,golden,model,bpf,vm,netns,l7,fuzz,san || echo total >> $(RESULTS)/late; \
	 [ -z "$$SUDO_UID" ] || chown -R "$$SUDO_UID:$$SUDO_GID" build build-san; [ ! -s $(RESULTS)/late ]
check-vm:
	+@$(call ALL,vm)
check-beside:
	+@$(call ALL,$(BESIDE_VM))

tests-build: $(UNIT) $(BPFTEST) $(VMTEST) $(FUZZ)
fuzz-build: $(FUZZ)

SUITE ?= unit
SEPARATE = $(foreach p,$(1),$(p) --)
# Those named in $(1) first, in that order: a long one that begins last is waited for alone.
FIRST = $(foreach n,$(1),$(filter %/$(n),$(2))) $(filter-out $(addprefix %/,$(1)),$(2))
# (Many of them wait, for deadlines of a daemon that they start: hence more of them at once than there are cores.)
unit: $(PROGRAMS) $(UNIT)
	@$(SUMMARY) $(SUITE) $(RESULTS) --timeout 120 --jobs $$((2 * $(JOBS))) \
		$(call SEPARATE,$(call FIRST,test_record test_metrics test_session test_move_sim,$(UNIT)))

model:
	@$(SUMMARY) model $(RESULTS) --timeout 300 tests/model/run

bpf: $(BPFTEST)
	@$(SUMMARY) bpf $(RESULTS) --timeout 120 --jobs $$(($(JOBS) + 1)) $(call SEPARATE,$(call FIRST,test_fabric test_rows_hosts,$^))

# The kernel module, on two stock kernels in virtual machines; packages of kernels are kept in BATON_VM_CACHE.
vm: $(VMTEST) $(BPFTEST) all
	@$(SUMMARY) vm $(RESULTS) --timeout 3000 tests/vm/run

golden: all
	@$(SUMMARY) golden $(RESULTS) --timeout 240 tests/golden/run

# Tests of whole POPs, then those with a topology of their own.  (They mostly wait: one more at once than there are cores.)
netns: all
	@$(SUMMARY) netns $(RESULTS) --timeout 540 tests/netns/run -j $$(($(JOBS) + 1)) $(T) $(if $(T),,-- tests/netns/test_bgp)

# baton-l7d with real clients and servers; tests/l7/vtc holds varnishtest's scripts.  (Beds of their own, which mostly wait;
# the longest begins first.)
l7: all
	@$(SUMMARY) l7 $(RESULTS) --timeout 300 --jobs $$(($(JOBS) + 1)) \
		$(call SEPARATE,$(call FIRST,test_handoff test_edge test_bodies,$(wildcard tests/l7/test_*)))

# Of hand-off's tests what takes minutes: not a part of check.
handoff-long: all
	@$(SUMMARY) handoff-long $(RESULTS) --timeout 3000 tests/l7/test_handoff_load --long -- tests/l7/test_handoff_faults --long; late=$$?; \
	 grep '^# ' $(RESULTS)/handoff-long.test_handoff_load.log; exit $$late

san:
	+@$(AGAIN) SAN=1 SUITE=san RESULTS=$(RESULTS) unit

# One line per harness; a crash leaves its input in build/fuzz-crashes.  The corpus grows in build/fuzz-corpus, so
# that the next run begins where this one ended.
fuzz-short fuzz: $(FUZZ)
	@B=$(B) $(SUMMARY) fuzz $(RESULTS) --timeout 86400 tests/fuzz/run $(or $(S),$(if $(filter fuzz,$@),600,5)) $^

# --- demo and benchmarks -----------------------------------------------------------------------------
demo: deps
	@$(AGAIN) -j$(JOBS) all
	@build/baton demo; status=$$?; [ -z "$$SUDO_UID" ] || chown -R "$$SUDO_UID:$$SUDO_GID" build; exit $$status

bench-l4: all $(BENCH)
	@tests/bench/run l4
bench-kmod: all $(BENCH)
	@tests/bench/run kmod
# Of the virtual machines' tests what takes minutes: not a part of check.
vm-long: $(VMTEST) $(BPFTEST) all
	@tests/vm/run --long
	@tests/vm/live_swap
# The module on a kernel with KASAN, lockdep and kmemleak, which is built once; not a part of check.
check-kasan: $(VMTEST) $(BPFTEST) all
	@tests/vm/kasan
bench-http: all
	@tests/bench/run http
bench-handoff: all $(BENCH)
	@tests/bench/run handoff

# --- quality -----------------------------------------------------------------------------------------
.PHONY: lint format sparse
sparse:
	@for k in stable backports trixie; do SPARSE=1 tests/vm/build-module $$k || exit 1; done
C_FILES = $(shell git ls-files '*.c' '*.h')
lint: $(SKELS)
	@tests/lint $(CPPFLAGS)
format:
	clang-format -i $(C_FILES)

# --- man pages and installation ----------------------------------------------------------------------
PREFIX ?= /usr
MAN := $(patsubst docs/man/%.scd,$(B)/man/%,$(wildcard docs/man/*.scd))
MODULE_SRC := /usr/src/baton-$(VERSION)
DAEMONS := $(filter-out $(B)/baton,$(PROGRAMS))

.PHONY: man install
man: $(MAN)
$(B)/man/%: docs/man/%.scd
	@mkdir -p $(@D)
	scdoc < $< > $@.tmp && mv $@.tmp $@

install: all man
	install -d $(addprefix $(DESTDIR)$(PREFIX)/,bin sbin lib/systemd/system share/baton) $(DESTDIR)/etc/baton
	install -m 755 $(B)/baton $(DESTDIR)$(PREFIX)/bin/
	install -m 755 $(DAEMONS) $(DESTDIR)$(PREFIX)/sbin/
	install -D -m 644 app/baton_app.h $(DESTDIR)$(PREFIX)/include/baton/baton_app.h
	install -D -m 644 $(B)/libbaton-app.a $(DESTDIR)$(PREFIX)/lib/libbaton-app.a
	for u in deploy/systemd/*.service; do \
		sed 's|/usr/sbin/|$(PREFIX)/sbin/|' $$u > $(DESTDIR)$(PREFIX)/lib/systemd/system/$${u##*/}; done
	# Not to sysctl.d: a machine is a switch, a host, or neither.
	install -m 644 deploy/bird/baton.conf deploy/bird/bird.conf.example deploy/pop.yaml.example deploy/sysctl.d/*.conf \
		$(DESTDIR)$(PREFIX)/share/baton/
	install -d $(addprefix $(DESTDIR),$(PREFIX)/share/doc/baton $(addprefix $(MODULE_SRC)/,kmod lb))
	install -m 644 README.md CHANGELOG.md LICENSE $(DESTDIR)$(PREFIX)/share/doc/baton/
	# As in the tree, so that README's links lead there; what links into the code leads to the web, or nowhere.
	install -d $(addprefix $(DESTDIR)$(PREFIX)/share/doc/baton/,docs examples)
	install -m 644 docs/*.md $(DESTDIR)$(PREFIX)/share/doc/baton/docs/
	install -m 644 deploy/pop.yaml.example deploy/examples/*.yaml examples/*.c $(DESTDIR)$(PREFIX)/share/doc/baton/examples/
	# The module's source, for DKMS: dkms install baton/$(VERSION)
	install -m 644 kmod/Kbuild kmod/*.[ch] $(DESTDIR)$(MODULE_SRC)/kmod/
	install -m 644 lb/*.h $(DESTDIR)$(MODULE_SRC)/lb/
	sed 's/^PACKAGE_VERSION=.*/PACKAGE_VERSION="$(VERSION)"/' kmod/dkms.conf > $(DESTDIR)$(MODULE_SRC)/dkms.conf
	$(foreach m,$(MAN),install -D -m 644 $(m) $(DESTDIR)$(PREFIX)/share/man/man$(subst .,,$(suffix $(m)))/$(notdir $(m));)

.PHONY: clean
clean:
	rm -rf build build-san

-include $(sort $(shell find $(B) $(K)/bpf -name '*.d' 2>/dev/null))
.SECONDARY:
