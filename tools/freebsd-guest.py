#!/usr/bin/env python3
"""Runs a shell script as root in a throw-away FreeBSD guest under QEMU.

  tools/freebsd-guest.py [-o DIR] [-t SECONDS] SCRIPT [FILE[:NAME]...]

SCRIPT and each FILE (a directory with all that is in it) land in /job, FILE under NAME if one is
given; SCRIPT runs there by /bin/sh. What it prints is shown as it comes. What it leaves in /job/out
is brought to DIR. Exit status: the script's; 124 when it did not end in time; 125 when the guest
failed; 2 for wrong usage.

In the environment:

  COLIBRI_FREEBSD_IMAGE   required: a disk image, raw or qcow2, of an amd64 FreeBSD 15 whose root
                          logs in without a password on the serial console; the official images
                          called BASIC-CI are such. It is not changed.
  COLIBRI_FREEBSD_KERNEL  a kernel to start directly, for an image without a boot loader whose
                          root file system is the whole disk (UFS)
  COLIBRI_FREEBSD_ENV     with a kernel: kernel variables, comma separated, such as
                          kern.racct.enable=1
  COLIBRI_FREEBSD_ACCEL   QEMU's accelerator, default tcg (emulation, works anywhere); kvm is
                          many times faster where it starts FreeBSD
  COLIBRI_FREEBSD_CPUS    default 2
  COLIBRI_FREEBSD_MEMORY  in MiB, default 2048
"""
import argparse
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time

# Room for the job and for what comes back; sparse files.
DISK_BYTES = 4 << 30
# An emulated guest boots in one to two minutes.
BOOT_SECONDS = 600
READY = "colibri-guest-ready"
STATUS = "colibri-guest-status"


class Failed(Exception):
    """The guest did not do what it must."""


def pack(path, script, files):
    """Writes the job disk: a tar archive at its beginning."""
    def root(info):
        info.uid = info.gid = 0
        info.uname, info.gname = "root", "wheel"
        return info

    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        tar.add(script, arcname="job.sh", filter=root)
        for item in files:
            source, name = item, None
            if not os.path.exists(item) and ":" in item:
                source, name = item.rsplit(":", 1)
            if not os.path.exists(source):
                raise Failed(f"cannot find {source}")
            tar.add(source, arcname=name or os.path.basename(os.path.abspath(source)), filter=root)
    with open(path, "r+b") as disk:
        if disk.seek(0, os.SEEK_END) > DISK_BYTES:
            raise Failed(f"the files are larger than {DISK_BYTES >> 30} GiB")
        disk.truncate(DISK_BYTES)


def image_format(path):
    with open(path, "rb") as image:
        return "qcow2" if image.read(4) == b"QFI\xfb" else "raw"


def qemu_command(work, image):
    get = os.environ.get
    command = [
        get("COLIBRI_FREEBSD_QEMU", "qemu-system-x86_64"),
        "-machine", "q35,hpet=off", "-cpu", "max,la57=off", "-accel", get("COLIBRI_FREEBSD_ACCEL", "tcg"),
        "-smp", get("COLIBRI_FREEBSD_CPUS", "2"), "-m", get("COLIBRI_FREEBSD_MEMORY", "2048"),
        "-nodefaults", "-display", "none", "-no-reboot",
        # vtbd0, vtbd1, vtbd2 in the guest, in the order of their addresses.
        "-drive", f"file={image},format={image_format(image)},if=none,id=d0,snapshot=on,cache=unsafe",
        "-device", "virtio-blk-pci,drive=d0,addr=0x5",
        "-drive", f"file={work}/job,format=raw,if=none,id=d1,readonly=on",
        "-device", "virtio-blk-pci,drive=d1,addr=0x6",
        "-drive", f"file={work}/out,format=raw,if=none,id=d2,cache=unsafe",
        "-device", "virtio-blk-pci,drive=d2,addr=0x7",
        "-device", "virtio-rng-pci,addr=0x8",
        "-chardev", f"socket,id=serial,path={work}/serial,server=on,wait=off",
        "-serial", "chardev:serial",
    ]
    kernel = get("COLIBRI_FREEBSD_KERNEL")
    if kernel:
        variables = ["vfs.root.mountfrom=ufs:/dev/vtbd0", "boot_serial=YES", "console=comconsole"]
        variables += [v for v in get("COLIBRI_FREEBSD_ENV", "").split(",") if v]
        command += ["-kernel", kernel, "-append", ",".join(variables)]
    return command


class Console:
    """The guest's serial console: what it says, line by line, and what is typed there."""

    def __init__(self, path, process):
        self.process = process
        self.said = ""
        self.log = []
        deadline = time.monotonic() + 30
        while True:
            self.socket = socket.socket(socket.AF_UNIX)
            try:
                self.socket.connect(path)
                return
            except OSError:
                self.socket.close()
                if process.poll() is not None or time.monotonic() > deadline:
                    raise Failed("QEMU does not start")
                time.sleep(0.05)

    def type(self, text):
        self.socket.sendall(text.encode())

    def read(self, deadline):
        """Some text; None when the deadline has passed."""
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([self.socket], [], [], left)[0]:
            return None
        data = self.socket.recv(65536)
        if not data:
            raise Failed("the guest has gone")
        text = data.decode(errors="replace").replace("\r", "")
        self.log.append(text)
        return text

    def expect(self, patterns, deadline, what):
        """Reads until one of the patterns is there; its index."""
        while True:
            for n, pattern in enumerate(patterns):
                found = re.search(pattern, self.said)
                if found:
                    self.said = self.said[found.end():]
                    return n
            text = self.read(deadline)
            if text is None:
                tail = "".join(self.log)[-2000:]
                raise Failed(f"no {what} on the serial console in time; it ended with:\n{tail}")
            self.said += text

    def login(self):
        deadline = time.monotonic() + BOOT_SECONDS
        # Some images let root in without asking.
        if self.expect([r"login: *$", r"\n[^\n]*[#$%] *$"], deadline, "login prompt") == 0:
            self.type("root\n")
            if self.expect([r"Password: *$", r"[#$%] *$"], deadline, "shell") == 0:
                raise Failed("root has a password in this image")
        self.type("exec /bin/sh\n")
        self.type("stty -echo; PS1=; PS2=\n")
        # A shell that starts, or changes how it reads, may drop what is typed meanwhile: again.
        while not self.answers(time.monotonic() + 5):
            if time.monotonic() > deadline:
                raise Failed("the shell on the serial console does not answer")

    def answers(self, deadline):
        """Whether the shell says a word before the deadline."""
        # In two pieces, so that the echo of the command is not taken for its answer.
        self.type(f"echo {READY[:8]}''{READY[8:]}\n")
        while READY not in self.said:
            text = self.read(deadline)
            if text is None:
                return False
            self.said += text
        return True

    def run(self, seconds):
        """Runs the job, passes its words on, returns its status; None when time is over."""
        deadline = time.monotonic() + seconds
        first, second = STATUS[:8], STATUS[8:]
        self.type(f"date -u -f %s {int(time.time())} >/dev/null\n")
        self.type("mkdir -p /job && cd /job && tar -xf /dev/vtbd1 && mkdir -p out && "
                  f"sh ./job.sh </dev/null; echo {first}''{second} $?\n")
        pattern = re.compile(STATUS + r" (\d+)\n")
        self.said = ""
        while True:
            found = pattern.search(self.said)
            if found:
                sys.stdout.write(self.said[:found.start()])
                sys.stdout.flush()
                return int(found.group(1))
            # Whole lines, except what may be the beginning of the status.
            cut = self.said.rfind("\n") + 1
            sys.stdout.write(self.said[:cut])
            sys.stdout.flush()
            self.said = self.said[cut:]
            text = self.read(deadline)
            if text is None:
                return None
            self.said += text

    def fetch(self):
        """Has the guest write what is in /job/out to the third disk."""
        self.type(f"cd /job/out && tar -cf /dev/vtbd2 . && sync; echo {READY[:8]}''{READY[8:]}\n")
        self.said = ""
        self.expect([READY], time.monotonic() + 600, "end of the copying")


def run(args, work):
    image = os.environ["COLIBRI_FREEBSD_IMAGE"]
    pack(f"{work}/job", args.script, args.files)
    with open(f"{work}/out", "wb") as out:
        out.truncate(DISK_BYTES)
    with open(f"{work}/qemu.log", "wb") as log:
        process = subprocess.Popen(qemu_command(work, image), stdin=subprocess.DEVNULL, stdout=log,
                                   stderr=log, start_new_session=True)
    try:
        console = Console(f"{work}/serial", process)
        began = time.monotonic()
        console.login()
        print(f"guest: booted in {time.monotonic() - began:.0f} s", flush=True)
        status = console.run(args.timeout)
        if status is None:
            print(f"guest: not done after {args.timeout} s", file=sys.stderr)
            return 124
        if args.out:
            console.fetch()
            os.makedirs(args.out, exist_ok=True)
            with tarfile.open(f"{work}/out") as tar:
                tar.extractall(args.out, filter="data")
        return status
    except Failed as why:
        print(f"guest: {why}", file=sys.stderr)
        with open(f"{work}/qemu.log", errors="replace") as log:
            print(log.read()[-2000:], file=sys.stderr)
        return 125
    finally:
        process.kill()
        process.wait()


def main():
    parser = argparse.ArgumentParser(prog="freebsd-guest.py", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", dest="out", metavar="DIR")
    parser.add_argument("-t", dest="timeout", metavar="SECONDS", type=float, default=600)
    parser.add_argument("script", metavar="SCRIPT")
    parser.add_argument("files", metavar="FILE", nargs="*")
    args = parser.parse_args()
    if not os.environ.get("COLIBRI_FREEBSD_IMAGE"):
        parser.error("COLIBRI_FREEBSD_IMAGE is not set")
    # So that the guest goes, too, when this is ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    work = tempfile.mkdtemp(prefix="colibri-guest.")
    try:
        return run(args, work)
    except Failed as why:
        print(f"guest: {why}", file=sys.stderr)
        return 125
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
