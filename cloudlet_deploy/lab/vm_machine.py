"""The virtual machine behind a lab host: process 1 of the host's container.

The container has the network address; the machine inside takes it over, through a bridge. It is
restored from the state in which the image's builder left it, which takes seconds, and from then
on keeps a disk of its own: after a power cut (``lab kill``, ``lab start``) it boots from that.

Runs by itself in the container, on the Python there: it imports nothing of the package.

    machine.py build    in the image's builder: boot once, keep the state
    machine.py run      in a lab's host
"""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

HOME = Path("/vm")
BASE, DISK, STATE = HOME / "base.qcow2", HOME / "disk.qcow2", HOME / "state"
#: The builder's way in. It is taken off the machine when that becomes a host.
KEY = HOME / "key"
NETWORK, ACCELERATOR = HOME / "network.json", HOME / "accelerator"
_CONTROL = "/run/qemu.sock"
_PORT = 2222
#: What the image's builder put there for :data:`_PORT`; a host has none of it.
BUILD_NETWORK = "/etc/systemd/network/20-build.network"
LAB_NETWORK = "/etc/systemd/network/10-lab.network"
_ARGUMENTS = (
    "root=/dev/vda rw console=ttyS0 quiet net.ifnames=0 "
    "security=selinux selinux=1 enforcing=1 audit=1"
)
#: Software emulation of a processor that every kernel knows, where KVM does not work. What guards
#: that processor against spying costs half the time there, since it throws away the emulator's
#: tables at every system call.
_EMULATED = ("-accel", "tcg,thread=multi", "-cpu", "Nehalem")
_UNGUARDED = " mitigations=off"
_KVM = ("-accel", "kvm", "-cpu", "host")
_BOOT_SECONDS = 300


def qemu(disk: Path, network: str, accelerator: tuple[str, ...], *more: str) -> list[str]:
    """The command line; what the machine consists of must be the same for state and restore."""
    arguments = _ARGUMENTS + (_UNGUARDED if accelerator == _EMULATED else "")
    return [
        "qemu-system-x86_64",
        *accelerator,
        *("-M", "q35", "-smp", "2", "-m", "2048"),
        *("-display", "none", "-serial", "stdio", "-monitor", "none"),
        *("-qmp", f"unix:{_CONTROL},server,nowait"),
        *("-kernel", str(HOME / "vmlinuz"), "-initrd", str(HOME / "initrd")),
        *("-append", arguments),
        # A power cut takes what the machine has not written yet; this file outlives QEMU.
        *("-drive", f"file={disk},if=virtio,cache=unsafe"),
        *("-netdev", network, "-device", "virtio-net-pci,netdev=lab,romfile="),
        *("-netdev", f"user,id=build,restrict=on,hostfwd=tcp:127.0.0.1:{_PORT}-:22"),
        *("-device", "virtio-net-pci,netdev=build,romfile="),
        *("-device", "virtio-rng-pci"),
        *more,
    ]


def build() -> None:
    """Boot the machine once and keep the state in which it is then."""
    accelerator = _KVM if _kvm_works() else _EMULATED
    ACCELERATOR.write_text(json.dumps(accelerator))
    process = subprocess.Popen(
        qemu(BASE, "user,id=lab,restrict=on", accelerator), stdin=subprocess.DEVNULL
    )
    try:
        _until_it_answers(process, _BOOT_SECONDS)
        done = _ssh("systemctl is-system-running --wait; sync; echo 3 >/proc/sys/vm/drop_caches")
        if done.stdout.strip() != b"running":
            failed = _ssh("systemctl --failed --no-legend --plain").stdout.decode()
            raise SystemExit(f"the machine boots, but not well: {failed.strip()}")
        control = Control()
        control.ask("migrate", uri=f"exec:cat >{STATE}")
        while control.ask("query-migrate")["status"] not in ("completed", "failed"):
            time.sleep(0.2)
        if control.ask("query-migrate")["status"] == "failed":
            raise SystemExit(f"the state of the machine cannot be kept: {_CONTROL}")
        control.ask("quit")
        process.wait(60)
    finally:
        process.kill()


def _kvm_works() -> bool:
    """Whether the machine's kernel says a word under KVM; some of them never do."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    tried = subprocess.run(
        [
            *("timeout", "10", "qemu-system-x86_64", *_KVM, "-m", "512", "-display", "none"),
            *("-serial", "stdio", "-monitor", "none", "-no-reboot"),
            *("-kernel", str(HOME / "vmlinuz")),
            *("-append", "console=ttyS0 panic=-1"),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    return b"Linux version" in tried.stdout


class Control:
    """QEMU's own protocol on its socket."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(_CONTROL)
        self._lines = self._socket.makefile("r")
        self._lines.readline()
        self.ask("qmp_capabilities")

    def ask(self, command: str, **arguments: Any) -> Any:
        """Send one command; its answer. Raises SystemExit for an error."""
        told = json.dumps({"execute": command, "arguments": arguments})
        self._socket.sendall(told.encode())
        for line in self._lines:
            answer = json.loads(line)
            if "error" in answer:
                raise SystemExit(f"QEMU refuses {command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]
        raise SystemExit(f"QEMU ended at {command}")


def run() -> int:
    """Be the host: QEMU's exit code."""
    address = _take_address()
    accelerator = tuple(json.loads(ACCELERATOR.read_text()))
    network = "tap,id=lab,ifname=tap0,script=no,downscript=no,vnet_hdr=off"
    fresh = not DISK.exists()
    if fresh:
        subprocess.run(
            ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", str(BASE), str(DISK)],
            check=True,
        )
    more = ("-incoming", f"exec:cat {STATE}") if fresh else ()
    process = subprocess.Popen(qemu(DISK, network, accelerator, *more), stdin=subprocess.DEVNULL)
    if fresh:
        _until_it_answers(process, _BOOT_SECONDS)
        _become(address)
    return process.wait()


def _take_address() -> dict[str, Any]:
    """Bridge the container's network to the machine; the address is no longer the container's."""
    if not NETWORK.exists():
        (link,) = _json("ip", "-j", "-4", "address", "show", "eth0")
        (found,) = link["addr_info"]
        (route,) = _json("ip", "-j", "-4", "route", "show", "default")
        address = {
            "address": f"{found['local']}/{found['prefixlen']}",
            "gateway": route["gateway"],
            # The container keeps its own: two cards of one address would confuse the bridge.
            "mac": f"06{Path('/sys/class/net/eth0/address').read_text().strip()[2:]}",
        }
        NETWORK.write_text(json.dumps(address))
    commands = """
    ip address flush dev eth0
    ip link show br0 >/dev/null 2>&1 || ip link add br0 type bridge
    ip link show tap0 >/dev/null 2>&1 || ip tuntap add tap0 mode tap
    for card in eth0 tap0; do ip link set "$card" master br0 up promisc on; done
    ip link set br0 up
    """
    subprocess.run(["sh", "-ec", commands], check=True)
    return dict(json.loads(NETWORK.read_text()))


def _json(*command: str) -> list[dict[str, Any]]:
    found = subprocess.run(command, capture_output=True, check=True).stdout
    return list(json.loads(found))


def _become(address: dict[str, Any]) -> None:
    """Give the restored machine its name, network, keys and the time; close the builder's way."""
    name = socket.gethostname()
    network = f"""\
[Match]
Name=eth0
[Link]
MACAddress={address["mac"]}
[Network]
Address={address["address"]}
Gateway={address["gateway"]}
"""
    hosts = f"127.0.0.1 localhost\n{address['address'].split('/')[0]} {name}\n"
    made = {
        LAB_NETWORK: network,
        "/etc/hostname": f"{name}\n",
        "/etc/hosts": hosts,
        "/etc/resolv.conf": Path("/etc/resolv.conf").read_text(),
    }
    taken = [str(path) for path in Path("/etc/ssh").glob("ssh_host_*")]
    taken += [str(path) for path in Path("/home").glob("*/.ssh/authorized_keys")]
    taken += [str(path) for path in Path("/usr/lib/python3/dist-packages").glob("lab_*")]
    taken += [str(path) for path in Path("/etc/systemd/system-generators").glob("*")]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path in taken:
            tar.add(path)
        for path, text in made.items():
            entry = tarfile.TarInfo(path.lstrip("/"))
            entry.size = len(text.encode())
            tar.addfile(entry, io.BytesIO(text.encode()))
    commands = f"""
    date --set=@{time.time():.0f} >/dev/null
    tar -x -C /
    rm -f {BUILD_NETWORK}
    restorecon -F {" ".join([*taken, *made])}
    hostname {name}
    systemd-run --quiet --no-block sh -c '
      systemctl restart systemd-networkd ssh
      ip link set eth1 down'
    """
    done = _ssh(commands, stdin=buffer.getvalue())
    if done.returncode != 0:
        raise SystemExit(f"the machine does not become {name}: {done.stderr.decode()}")


def _until_it_answers(process: subprocess.Popen[bytes], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while True:
        done = _ssh("true")
        if done.returncode == 0:
            return
        if process.poll() is not None:
            raise SystemExit(f"QEMU ended with {process.returncode}")
        if time.monotonic() > deadline:
            raise SystemExit(f"no ssh within {seconds:.0f} s: {done.stderr.decode()}")
        time.sleep(0.3)


def _ssh(commands: str, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run shell ``commands`` as root on the machine."""
    # It is a child of this very process, behind a port of this container: there is nobody between.
    options = (
        *("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR"),
        *("BatchMode=yes", "ConnectTimeout=5"),
    )
    return subprocess.run(
        [
            *("ssh", "-F", "/dev/null", "-i", str(KEY), "-p", str(_PORT)),
            *(part for option in options for part in ("-o", option)),
            "root@127.0.0.1",
            commands,
        ],
        input=stdin or b"",
        capture_output=True,
        check=False,
    )


if __name__ == "__main__":
    sys.exit({"build": build, "run": run}[sys.argv[1]]())
