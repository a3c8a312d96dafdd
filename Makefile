# Colibri. For GNU make and BSD make alike: nothing here that only one of them knows.
#
#   make            release build           make lint       formatting, clippy, man pages, house rules
#   make run        see it work, privately  make bench      the measurements that README.md quotes
#   make test       the tests               make freebsd    check, clippy and link for FreeBSD 15
#   make test-user  again, without root     make fuzz       FUZZ_SECONDS of each fuzz target
#   make install    DESTDIR and PREFIX; uninstall; clean
#   make freebsd-test  the tests on FreeBSD 15: there, or in a guest (COLIBRI_FREEBSD_IMAGE)

CARGO ?= cargo
PREFIX ?= /usr/local
SYSCONFDIR ?= $(PREFIX)/etc
MANDIR ?= $(PREFIX)/share/man
# Seconds that each fuzz target runs.
FUZZ_SECONDS ?= 30
# Where cargo puts what it builds; cargo itself reads the variable too.
CARGO_TARGET_DIR ?= target

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

freebsd:
	CARGO="$(CARGO)" sh tools/freebsd.sh

# TESTS names some of the test programs; default: all.
freebsd-test:
	CARGO="$(CARGO)" sh tools/freebsd-test.sh $(TESTS)

# Installs what `make` built and builds nothing itself, so that it can be run as root.
# An existing colibri.conf is never touched: only the sample beside it is replaced.
install:
	install -d "$(DESTDIR)$(PREFIX)/sbin" "$(DESTDIR)$(SYSCONFDIR)/colibri"
	for f in $(SBIN); do \
		install -m 755 "$(CARGO_TARGET_DIR)/release/$$f" "$(DESTDIR)$(PREFIX)/sbin/$$f" || exit 1; \
	done
	for f in man/*.[0-9]; do \
		d="$(DESTDIR)$(MANDIR)/man$${f##*.}"; \
		install -d "$$d" && install -m 644 "$$f" "$$d/" || exit 1; \
	done
	install -m 644 etc/colibri.conf.sample "$(DESTDIR)$(SYSCONFDIR)/colibri/colibri.conf.sample"
	if [ -f rc.d/colibrid ]; then \
		install -d "$(DESTDIR)$(PREFIX)/etc/rc.d" && \
		install -m 755 rc.d/colibrid "$(DESTDIR)$(PREFIX)/etc/rc.d/colibrid"; \
	fi

# Leaves colibri.conf and the state directory, which are the operator's.
uninstall:
	for f in $(SBIN); do rm -f "$(DESTDIR)$(PREFIX)/sbin/$$f"; done
	for f in man/*.[0-9]; do \
		rm -f "$(DESTDIR)$(MANDIR)/man$${f##*.}/$${f##*/}"; \
	done
	rm -f "$(DESTDIR)$(SYSCONFDIR)/colibri/colibri.conf.sample" "$(DESTDIR)$(PREFIX)/etc/rc.d/colibrid"
	rmdir "$(DESTDIR)$(SYSCONFDIR)/colibri" 2>/dev/null || true

clean:
	$(CARGO) clean
	rm -rf fuzz/target

.PHONY: all run test test-user lint bench fuzz freebsd freebsd-test install uninstall clean
