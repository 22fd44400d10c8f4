# SPDX-License-Identifier: Apache-2.0
"""A fresh Debian in a folder, with its own systemd.

debootstrap fills the folder.  Systemd runs there in its own namespaces, and
starts and stops services as on a real machine.  It sees no other processes, and
the ports 80 and 443 of its own 127.0.0.1 are free.  It reaches no network, so
packages are downloaded before it starts.
"""

import contextlib
import ctypes
import glob
import os
import shutil
import subprocess

from httpd_env import REPO, wait_until

# The packages that a usual Debian has in addition to the smallest system.
USUAL = "systemd-sysv,sudo,ca-certificates,procps"
USER = "anna"
CLONE_NEWNET = 0x40000000

# This script mounts in the folder what systemd needs, and then becomes systemd.
BOOT = r"""
root=$1
ip link set lo up
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
for name in null zero full random urandom tty; do
    touch "$root/dev/$name"
    mount --bind "/dev/$name" "$root/dev/$name"
done
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
for name in 0:stdin 1:stdout 2:stderr; do
    ln -s "fd/${name%:*}" "$root/dev/${name#*:}"
done
exec env -i container=folder PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    chroot "$root" /lib/systemd/systemd
"""


def run(*command, **more):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          check=False, **more)
    assert done.returncode == 0, "%s: %s" % (command, done.stdout[-4000:])
    return done.stdout


def missing():
    """Return why a fresh Debian cannot be made here, or None."""
    if os.geteuid() != 0:
        return "needs root"
    for program in ("debootstrap", "unshare", "nsenter", "apt-get"):
        if not shutil.which(program):
            return "no " + program
    if not cgroups():
        return "no cgroups of version 2"
    done = subprocess.run(["unshare", "--mount", "--pid", "--net", "--uts",
                           "--ipc", "--cgroup", "--fork", "true"],
                          stderr=subprocess.PIPE, check=False, text=True)
    return done.stderr if done.returncode else None


def cgroups():
    """Return where the cgroups of version 2 are mounted, or None."""
    with open("/proc/self/mounts", encoding="utf-8") as mounts:
        return next((line.split()[1] for line in mounts
                     if line.split()[2] == "cgroup2"), None)


def sites():
    """Return the URL from which this machine gets Debian, and a list with the
    URL for security updates (empty if there is none)."""
    found = run("apt-get", "indextargets", "--format", "$(SITE)",
                "Created-By: Packages", "Component: main").split()
    debian = [site for site in found if "debian" in site]
    return (next(site for site in debian if "security" not in site),
            [site for site in debian if "security" in site][:1])


def write(path, text):
    with open(path, "w", encoding="ascii") as out:
        out.write(text)


def strap(root, release):
    """Fill a folder by debootstrap, which downloads each package only once."""
    cache = os.path.join(REPO, "build", "debian", release)
    os.makedirs(cache, exist_ok=True)
    run("debootstrap", "--variant=minbase", "--include=" + USUAL,
        "--cache-dir=" + cache, release, root, sites()[0])


def make(root, release):
    """Fill a folder with a fresh Debian that has a user who may use sudo."""
    strap(root, release)
    main, security = sites()
    write(root + "/etc/apt/sources.list", "deb %s %s main\n" % (main, release)
          + "".join("deb %s %s-security main\n" % (site, release)
                    for site in security))
    for name in glob.glob("/etc/apt/apt.conf.d/*"):     # such as a proxy
        if "docker" not in name:
            shutil.copy(name, root + "/etc/apt/apt.conf.d")
    write(root + "/etc/hosts", "127.0.0.1 localhost fresh\n")
    write(root + "/etc/hostname", "fresh\n")
    write(root + "/etc/dpkg/dpkg.cfg.d/quick", "force-unsafe-io\n")
    debian = Debian(root, release)
    debian.fetch("apt-get -q update; useradd -m -s /bin/bash %s; "
                 "echo '%s ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/user"
                 % (USER, USER))
    return debian


class Debian:
    """A Debian in a folder.  As a context manager it runs systemd there."""

    def __init__(self, root, release):
        self.root, self.release = root, release
        self.proc, self.pid = None, 0
        self.group = os.path.join(cgroups(), "comet-test-%d" % os.getpid())
        self.home = os.path.join(root, "home", USER)

    def copy(self, root):
        """Copy this Debian to another folder; return the copy."""
        run("cp", "-a", "--reflink=auto", self.root, root)
        return Debian(root, self.release)

    def fetch(self, script, user="root"):
        """Run a script that may use this machine's network. No service may
        start meanwhile."""
        policy = self.root + "/usr/sbin/policy-rc.d"
        write(policy, "#!/bin/sh\nexit 101\n")
        os.chmod(policy, 0o755)
        shutil.copy("/etc/resolv.conf", self.root + "/etc/resolv.conf")
        try:
            return run("unshare", "--mount", "--pid", "--fork", "sh", "-ec",
                       'mount -t proc proc "$0/proc"; exec chroot "$0" "$@"',
                       self.root, "runuser", "-l", user, "-c",
                       "set -e; export DEBIAN_FRONTEND=noninteractive LC_ALL=C;"
                       + script)
        finally:
            os.unlink(policy)

    def download(self, packages):
        """Download packages and their dependencies, for a later install without
        a network."""
        self.fetch("cd %s; apt-get -qyd install %s" % (
            self.home[len(self.root):], packages))

    def __enter__(self):
        """Start systemd."""
        os.mkdir(self.group)
        self.proc = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL",  # in case this test is killed
             "sh", "-c", 'echo $$ >"$0/cgroup.procs"; exec "$@"', self.group,
             "unshare", "--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup",
             "--fork", "--kill-child", "sh", "-ec", BOOT, "sh", self.root],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        try:
            wait_until(self.is_up, 120, "systemd")
        except BaseException:
            self.__exit__()
            raise
        return self

    def is_up(self):
        children = "/proc/%d/task/%d/children" % (self.proc.pid, self.proc.pid)
        with open(children, encoding="ascii") as file:
            self.pid = int((file.read().split() or [0])[0])
        assert self.proc.poll() is None, "systemd has ended"
        return self.pid and subprocess.run(
            self.command("root", "systemctl is-system-running"), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            check=False).stdout.strip() in ("running", "degraded")

    def __exit__(self, *_):
        """Kill the first process, which ends all others, and wait until they
        are gone."""
        self.proc.kill()
        self.proc.wait()
        wait_until(self.is_gone, 30, "the end of the processes")

    def is_gone(self):
        for folder, _, _ in os.walk(self.group, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(folder)
        return not os.path.exists(self.group)

    def command(self, user, script):
        return ["nsenter", "-t", str(self.pid), "-a", "-r", "-w", "runuser", "-l",
                user, "-c", script]

    def run(self, script, user=USER):
        """Run a script as if a user typed it; return what it prints."""
        done = subprocess.run(
            self.command(user, "export DEBIAN_FRONTEND=noninteractive; set -e\n"
                         + script), stdin=subprocess.DEVNULL, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        assert done.returncode == 0, "%s: %s %s" % (
            script, done.stdout[-4000:], done.stderr[-4000:])
        return done.stdout

    @contextlib.contextmanager
    def network(self):
        """Move this thread, and the processes that it starts, into the Debian's
        network while the context is open."""
        libc = ctypes.CDLL(None, use_errno=True)
        own, theirs = (os.open("/proc/%s/ns/net" % task, os.O_RDONLY)
                       for task in ("thread-self", self.pid))
        try:
            assert libc.setns(theirs, CLONE_NEWNET) == 0, ctypes.get_errno()
            yield
        finally:
            assert libc.setns(own, CLONE_NEWNET) == 0, ctypes.get_errno()
            os.close(own)
            os.close(theirs)


def source(folder):
    """Copy the files that `make deb` needs, as if they had just been
    unpacked."""
    os.makedirs(folder)
    for name in ("mod_comet", "sql", "htdocs", "conf", "test", "Makefile",
                 "README.md", "CHANGELOG.md", "LICENSE"):
        path = os.path.join(REPO, name)
        if os.path.isdir(path):
            shutil.copytree(path, os.path.join(folder, name), symlinks=True,
                            ignore=shutil.ignore_patterns("node_modules",
                                                          "__pycache__"))
        else:
            shutil.copy(path, folder)
