# Colibri. For GNU make and BSD make alike: nothing here that only one of them knows.
#
#   make            release build           make lint       formatting, clippy, man pages, house rules
#   make run        see it work, privately  make bench      the measurements that README.md quotes
#   make test       the tests               make freebsd    check, clippy and link for FreeBSD 15
#   make test-user  again, without root     make fuzz       FUZZ_SECONDS of each fuzz target
#   make torture    SECONDS of random faults against the real binaries, from SEED on if given
#   make install    DESTDIR and PREFIX; uninstall; clean
#   make freebsd-test  the tests on FreeBSD 15: there, or in a guest (COLIBRI_FREEBSD_IMAGE)
#   make package-freebsd  a tarball for FreeBSD 15, with its install.sh
#   make handoff    that, and what it was built from: handoff.json, handoff.txt
#   make dist       the sources of the last commit, for the port

CARGO ?= cargo
PREFIX ?= /usr/local
SYSCONFDIR ?= $(PREFIX)/etc
MANDIR ?= $(PREFIX)/share/man
# Seconds that each fuzz target runs.
FUZZ_SECONDS ?= 30
# Seconds of fault injection, and the first seed; none draws one.
SECONDS ?= 120
SEED ?=
# Where cargo puts what it builds; cargo itself reads the variable too.
CARGO_TARGET_DIR ?= target
# The programs that install takes, and the system that it installs for; this one unless given.
BIN_DIR ?= $(CARGO_TARGET_DIR)/release
SYSTEM ?=

# Where FreeBSD looks for what others than the base system bring: hier(7). In the files named .in,
# %%PREFIX%% is replaced.
LOCAL = $(DESTDIR)$(PREFIX)/etc
SAMPLES = newsyslog.conf.d/colibri.conf syslog.d/colibri.conf
EXAMPLES = login.conf devfs.rules
RC = colibrid colibri_firstboot
PERIODIC = daily/490.status-colibri

SBIN = colibrid colibri-spawnd colibri-schedd colibri-ctl

all:
	$(CARGO) build --release --workspace

run: all
	CARGO_TARGET_DIR="$(CARGO_TARGET_DIR)" sh tools/demo.sh

test:
	CARGO="$(CARGO)" CARGO_TARGET_DIR="$(CARGO_TARGET_DIR)" sh tools/test.sh

test-user:
	CARGO="$(CARGO)" CARGO_TARGET_DIR="$(CARGO_TARGET_DIR)" sh tools/test.sh --user

lint:
	CARGO="$(CARGO)" sh tools/lint.sh

bench:
	CARGO="$(CARGO)" CARGO_TARGET_DIR="$(CARGO_TARGET_DIR)" sh tools/bench.sh

fuzz:
	CARGO="$(CARGO)" FUZZ_SECONDS="$(FUZZ_SECONDS)" sh tools/fuzz.sh

torture:
	CARGO="$(CARGO)" CARGO_TARGET_DIR="$(CARGO_TARGET_DIR)" SECONDS="$(SECONDS)" SEED="$(SEED)" \
		sh tools/torture.sh

freebsd:
	CARGO="$(CARGO)" sh tools/freebsd.sh

# TESTS names some of the test programs; default: all. TESTS=torture: SECONDS of random faults.
freebsd-test:
	CARGO="$(CARGO)" SECONDS="$(SECONDS)" SEED="$(SEED)" sh tools/freebsd-test.sh $(TESTS)

package-freebsd:
	CARGO="$(CARGO)" MAKE="$(MAKE)" CARGO_TARGET_DIR="$(CARGO_TARGET_DIR)" sh tools/package.sh

handoff: package-freebsd
	CARGO="$(CARGO)" CARGO_TARGET_DIR="$(CARGO_TARGET_DIR)" sh tools/handoff.sh

dist:
	CARGO_TARGET_DIR="$(CARGO_TARGET_DIR)" sh tools/dist.sh

# Installs what `make` built and builds nothing itself, so that it can be run as root.
# What the operator may have changed is never touched: only the samples are replaced.
install:
	install -d "$(DESTDIR)$(PREFIX)/sbin" "$(DESTDIR)$(SYSCONFDIR)/colibri"
	for f in $(SBIN); do \
		install -m 755 "$(BIN_DIR)/$$f" "$(DESTDIR)$(PREFIX)/sbin/$$f" || exit 1; \
	done
	for f in man/*.[0-9]; do \
		d="$(DESTDIR)$(MANDIR)/man$${f##*.}"; \
		install -d "$$d" && install -m 644 "$$f" "$$d/" || exit 1; \
	done
	install -m 600 etc/colibri.conf.sample "$(DESTDIR)$(SYSCONFDIR)/colibri/colibri.conf.sample"
	s="$(SYSTEM)"; [ "$${s:-$$(uname -s)}" != FreeBSD ] || $(MAKE) install-freebsd

install-freebsd:
	install -d "$(LOCAL)/rc.d" "$(LOCAL)/newsyslog.conf.d" "$(LOCAL)/syslog.d" \
		"$(LOCAL)/periodic/daily" "$(DESTDIR)$(PREFIX)/libexec/colibri" \
		"$(DESTDIR)$(PREFIX)/share/examples/colibri"
	put() { sed 's|%%PREFIX%%|$(PREFIX)|g' "$$1" >"$$2" && chmod 755 "$$2"; }; \
	for f in $(RC); do put "rc.d/$$f.in" "$(LOCAL)/rc.d/$$f" || exit 1; done; \
	for f in $(PERIODIC); do put "etc/periodic/$$f.in" "$(LOCAL)/periodic/$$f" || exit 1; done; \
	put etc/colibri-setup.in "$(DESTDIR)$(PREFIX)/libexec/colibri/colibri-setup"
	for f in $(SAMPLES); do install -m 644 "etc/$$f" "$(LOCAL)/$$f.sample" || exit 1; done
	for f in $(EXAMPLES); do \
		install -m 644 "etc/examples/$$f" "$(DESTDIR)$(PREFIX)/share/examples/colibri/$$f" || exit 1; \
	done

# Leaves the configuration and the state directory, which are the operator's.
uninstall:
	for f in $(SBIN); do rm -f "$(DESTDIR)$(PREFIX)/sbin/$$f"; done
	for f in man/*.[0-9]; do \
		rm -f "$(DESTDIR)$(MANDIR)/man$${f##*.}/$${f##*/}"; \
	done
	rm -f "$(DESTDIR)$(SYSCONFDIR)/colibri/colibri.conf.sample"
	for f in $(RC); do rm -f "$(LOCAL)/rc.d/$$f"; done
	for f in $(PERIODIC); do rm -f "$(LOCAL)/periodic/$$f"; done
	for f in $(SAMPLES); do rm -f "$(LOCAL)/$$f.sample"; done
	for f in $(EXAMPLES); do rm -f "$(DESTDIR)$(PREFIX)/share/examples/colibri/$$f"; done
	rm -f "$(DESTDIR)$(PREFIX)/libexec/colibri/colibri-setup"
	for d in "$(DESTDIR)$(SYSCONFDIR)/colibri" "$(DESTDIR)$(PREFIX)/libexec/colibri" \
		"$(DESTDIR)$(PREFIX)/share/examples/colibri"; do rmdir "$$d" 2>/dev/null || true; done

clean:
	$(CARGO) clean
	rm -rf fuzz/target

.PHONY: all run test test-user torture lint bench fuzz freebsd freebsd-test package-freebsd handoff dist install \
	install-freebsd uninstall clean
