#!/usr/bin/env python3
"""Runs the command blocks (```sh and ```console) of documents, in order, each document by itself.

A document has one temporary HOME and one temporary directory, which holds the files of the repository; exports,
variables and the directory are kept from block to block. `clarion-collector` and target/release/clarion-collector are
the given binary; `cargo build` does nothing, `cargo run ... -- ARGS` runs the binary, any other cargo command is the
gate's own business and is listed. Where the kernel allows it a document has a network of its own: loopback alone.

`sh` is a script for `bash -euo pipefail`; of `console` the lines with `$ ` or `# ` (and `> ` behind them) are.

Marks are HTML comments, one a line, above the fence:
  not run: REASON           is not run, and listed
  none run: REASON          the same for every block behind it in the document
  needs: COMMAND...         listed as not run where one of the commands is not here
  background                the last command goes on; the next block comes when a new TCP port listens
  background: until COMMAND the same, ready when COMMAND succeeds
  stop                      ends what runs in the background first (SIGTERM, must end with 0)
  exit: CODE                must end with this code
  shows: TEXT               the output must contain this text
"""

import argparse
import fcntl
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

BLOCK_SECONDS = 60
READY_SECONDS = 30
END_SECONDS = 15
MARKS = ("not run", "none run", "needs", "background", "stop", "exit", "shows")
# What needs more than this machine's user: it must be marked, so that nobody's system is changed by a check.
REFUSED = re.compile(
    r"(?:^|[;&|(`]|\b(?:then|do|else|exec|time|if|while|!)\s)\s*(?:\w+=\S*\s+)*"
    r"(sudo|apt|apt-get|dpkg|kubectl|helm|docker|docker-compose|podman|systemctl|journalctl|sysctl|ssh|scp)\s",
    re.MULTILINE,
)

CARGO = """#!/usr/bin/env bash
set -euo pipefail
case ${1:-} in
build) ;;
run)
    shift
    while (($#)) && [[ $1 != -- ]]; do shift; done
    if (($#)); then shift; fi
    exec clarion-collector "$@"
    ;;
*) echo "cargo $*" >>"$DOCS_LEFT" ;;
esac
"""

# Keeps what a block exported, set, defined, and where it went. Variables of bash itself are left out.
STATE = r"""
docs_save() {
    { declare -p | grep -vE '^declare -[a-zA-Z]*r|^declare -[-a-zA-Z]+ (BASH|FUNCNAME|GROUPS|DIRSTACK|PIPESTATUS|EPOCH|S?RANDOM|SECONDS|LINENO|COMP_|DOCS_|_=)' || true; declare -f; printf 'cd %q\n' "$PWD"; } >"$DOCS_STATE.new" 2>/dev/null
    mv "$DOCS_STATE.new" "$DOCS_STATE"
}
"""


class Fault(Exception):
    """What is wrong with a block."""


class Block:
    def __init__(self, document, line, kind, marks, lines):
        self.name = f"{document}:{line}"
        self.kind, self.marks = kind, marks
        self.script = "\n".join(lines) if kind == "sh" else self.commands(lines)

    @staticmethod
    def commands(lines):
        found, open_line = [], False
        for line in lines:
            if line.startswith(("$ ", "# ")):
                found.append(line[2:])
            elif open_line and line.startswith(">"):
                found.append(line[1:].removeprefix(" "))
            else:
                open_line = False
                continue
            open_line = True
        return "\n".join(found)

    def values(self, mark):
        return [value for name, value in self.marks if name == mark]

    def check(self):
        for name, value in self.marks:
            if name not in MARKS:
                raise Fault(f"unknown mark `{name}`; known are: {', '.join(MARKS)}")
            if name in ("not run", "needs", "exit", "shows") and not value:
                raise Fault(f"`{name}:` needs a reason or value")
        if not self.values("not run") and not self.values("needs"):
            refused = REFUSED.search(self.script + "\n")
            if refused:
                raise Fault(f"uses {refused.group(1)} and bears no mark: <!-- not run: ... --> or <!-- needs: ... -->")

    def why_not(self):
        for reason in self.values("not run"):
            return reason
        for needs in self.values("needs"):
            for command in needs.split():
                if not shutil.which(command):
                    return f"{command} is not here"
        return None


def blocks_of(document):
    with open(document, encoding="utf-8") as file:
        lines = file.read().split("\n")
    marks, inside, found, standing = [], None, [], []
    for number, line in enumerate(lines, 1):
        fence = re.match(r"^(\s*)(```+|~~~+)\s*([\w-]*)", line)
        if inside:
            if fence and fence.group(2).startswith(inside["fence"]) and not fence.group(3):
                if inside["kind"] in ("sh", "console"):
                    found.append(Block(document, inside["line"], inside["kind"], standing + marks, inside["lines"]))
                inside, marks = None, []
            else:
                cut = len(inside["indent"])
                inside["lines"].append(line[cut:] if not line[:cut].strip() else line)
        elif fence:
            inside = {"fence": fence.group(2), "indent": fence.group(1), "kind": fence.group(3), "line": number, "lines": []}
        else:
            mark = re.match(r"^\s*<!--\s*([^:]*?)\s*(?::\s*(.*?)\s*)?-->\s*$", line)
            if mark:
                name, value = mark.group(1), mark.group(2) or ""
                if name == "none run":
                    standing = [("not run", value)]
                else:
                    marks.append((name, value))
            elif line.strip():
                marks = []
    if inside:
        raise Fault(f"{document}:{inside['line']}: the block has no end")
    return found


def listening():
    """Local addresses of listening TCP sockets of this network."""
    found = set()
    for table in ("tcp", "tcp6"):
        try:
            with open(f"/proc/self/net/{table}", encoding="ascii") as file:
                rows = [line.split() for line in file.readlines()[1:]]
        except OSError:
            continue
        found.update(row[1] for row in rows if row[3] == "0A")
    return found


def signal_group(process, number):
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        pass


class Session:
    """One document's surroundings."""

    def __init__(self, binary, scratch):
        self.scratch, self.background = scratch, []
        self.work, home, tools = (os.path.join(scratch, name) for name in ("work", "home", "bin"))
        for folder in (self.work, home, tools):
            os.mkdir(folder)
        copy_repository(self.work)
        release = os.path.join(self.work, "target/release")
        os.makedirs(release)
        for link in (os.path.join(release, "clarion-collector"), os.path.join(tools, "clarion-collector")):
            os.symlink(binary, link)
        with open(os.path.join(tools, "cargo"), "w", encoding="utf-8") as file:
            file.write(CARGO)
        os.chmod(os.path.join(tools, "cargo"), 0o755)
        self.left = os.path.join(scratch, "left")
        self.state = os.path.join(scratch, "state")
        with open(self.state, "w", encoding="utf-8") as file:
            file.write(f"cd '{self.work}'\n")
        keep = {key: os.environ[key] for key in ("LANG", "TERM", "TMPDIR") if key in os.environ}
        path = f"{tools}:{os.environ.get('PATH', '/usr/bin:/bin')}"
        self.environment = {**keep, "HOME": home, "PATH": path, "DOCS_LEFT": self.left}

    def start(self, block, background):
        path = os.path.join(self.scratch, f"block-{len(os.listdir(self.scratch))}")
        script, output = path + ".sh", path + ".out"
        # In the background the shell outlives the signal, so that its code is that of the command.
        trap = "trap docs_save DEBUG\ntrap : TERM\n" if background else "trap docs_save EXIT\n"
        with open(script, "w", encoding="utf-8") as file:
            # Not sourced: what is sourced does not see the trap.
            file.write(f'. "{self.state}"\n{STATE}set -euo pipefail\n{trap}{block.script}\n')
        with open(output, "wb") as out:
            process = subprocess.Popen(
                ["bash", script], stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                env={**self.environment, "DOCS_STATE": path + ".state" if background else self.state},
                cwd=self.work, start_new_session=True,
            )
        return process, output, path + ".state"

    def run(self, block):
        if block.values("stop"):
            self.stop()
        before = listening()
        until = [value for value in block.values("background")]
        process, output, state = self.start(block, bool(until))
        if until:
            self.background.append((block, process, output))
            self.await_ready(process, output, until[0].removeprefix("until "), before)
            # Not written by the process itself: it would write again when it ends, over what came after it.
            if os.path.exists(state):
                shutil.copy(state, self.state)
        else:
            try:
                code = process.wait(BLOCK_SECONDS)
            except subprocess.TimeoutExpired:
                raise Fault(f"still ran after {BLOCK_SECONDS} s; mark it as background?\n{read(output)}") from None
            finally:
                signal_group(process, signal.SIGKILL)
            expected = int((block.values("exit") or ["0"])[0])
            if code != expected:
                raise Fault(f"ended with {code} and not with {expected}\n{read(output)}")
        for text in block.values("shows"):
            if text not in read(output):
                raise Fault(f"does not show `{text}`\n{read(output)}")

    def await_ready(self, process, output, condition, before):
        end = time.monotonic() + READY_SECONDS
        while time.monotonic() < end:
            if process.poll() is not None:
                raise Fault(f"ended with {process.returncode} before it was ready\n{read(output)}")
            if not condition and listening() - before:
                return
            if condition:
                asked = subprocess.run(
                    ["bash", "-c", f'. "{self.state}"; {condition}'], env=self.environment, cwd=self.work, check=False,
                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=READY_SECONDS,
                )
                if asked.returncode == 0:
                    return
            time.sleep(0.1)
        raise Fault(f"was not ready after {READY_SECONDS} s\n{read(output)}")

    def stop(self):
        background, self.background = self.background, []
        faults = []
        # The last one first: a collector drains into the backend that was started before it.
        for block, process, output in reversed(background):
            signal_group(process, signal.SIGTERM)
            try:
                code = process.wait(END_SECONDS)
                if code != 0:
                    faults.append(f"{block.name}: in the background, ended with {code} after SIGTERM\n{read(output)}")
            except subprocess.TimeoutExpired:
                faults.append(f"{block.name}: in the background, did not end {END_SECONDS} s after SIGTERM\n{read(output)}")
            signal_group(process, signal.SIGKILL)
        if faults:
            raise Fault("\n".join(faults))


def read(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        text = file.read()
    return text if len(text) < 8_000 else "...\n" + text[-8_000:]


def copy_repository(to):
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], check=True, capture_output=True
    )
    for name in listed.stdout.decode().split("\0"):
        if name and os.path.exists(name):
            os.makedirs(os.path.join(to, os.path.dirname(name)), exist_ok=True)
            shutil.copy2(name, os.path.join(to, name), follow_symlinks=False)


def loopback_up():
    """A new network has its loopback down."""
    request = struct.pack("16sh14x", b"lo", 1)  # IFF_UP
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        fcntl.ioctl(probe, 0x8914, request)  # SIOCSIFFLAGS


def network_of_its_own():
    """The words before a command that give it one; none where the kernel does not allow it."""
    for words in (["unshare", "--net"], ["unshare", "--map-root-user", "--net"]):
        try:
            if subprocess.run([*words, "true"], check=False, capture_output=True).returncode == 0:
                return words
        except FileNotFoundError:
            return []
    return []


def one_document(document, binary):
    """True if all of it that can run here did."""
    try:
        blocks = blocks_of(document)
    except Fault as fault:
        print(f"FAILED   {fault}")
        return False
    good, session = True, None
    with tempfile.TemporaryDirectory() as scratch:
        for block in blocks:
            try:
                block.check()
                reason = block.why_not()
                if reason:
                    print(f"not run  {block.name}: {reason}", flush=True)
                    continue
                if not good:
                    print(f"not run  {block.name}: an earlier block failed", flush=True)
                    continue
                session = session or Session(binary, scratch)
                begun = time.monotonic()
                session.run(block)
                print(f"ran      {block.name} ({time.monotonic() - begun:.1f} s)", flush=True)
            except Fault as fault:
                print(f"FAILED   {block.name}: {fault}\n--- the block:\n{block.script}\n---", flush=True)
                good = False
        if session:
            try:
                session.stop()
            except Fault as fault:
                print(f"FAILED   {fault}", flush=True)
                good = False
            if os.path.exists(session.left):
                commands = "; ".join(sorted(set(read(session.left).splitlines())))
                print(f"not run  {document}, steps of the gate itself: {commands}")
    return good


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    parser.add_argument("--inside", action="store_true", help="the network is made already")
    parser.add_argument("documents", nargs="+")
    args = parser.parse_args()
    if args.inside:
        try:
            loopback_up()
        except OSError as error:
            print(f"FAILED   loopback cannot be brought up: {error}")
            return 1
        return 0 if one_document(args.documents[0], args.binary) else 1
    words, good = network_of_its_own(), True
    if not words:
        print("no network of its own here: the blocks use the ports of this machine")
    for document in args.documents:
        if words:
            command = [*words, sys.executable, __file__, "--inside", "--binary", args.binary, document]
            good &= subprocess.run(command, check=False).returncode == 0
        else:
            good &= one_document(document, args.binary)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
