"""Checks the source tree against the house rules that a compiler does not know.

Arrows: a folder includes only what the picture of the layers draws below it, and nothing but tests
includes test/. Purity: what is pure reaches no thread, clock, file or socket, however indirectly.
Size: files, functions and lines stay readable. Words: a few calls that the house does without.

Usage: layers.py FILE-IN-ROOT; walks the tree around that file, prints each violation as
path:line: text, and exits 1 if there is any.
"""

import os
import re
import sys

# Who may include whom, directly; the closure is taken below. "raft:types" is raft/types.h alone.
ARROWS = {
    "base": [],
    "api": ["base"],
    "raft:types": ["base"],
    "raft": ["raft:types"],
    "wal": ["raft:types"],
    "lease": ["base"],
    "mvcc": ["api"],
    "watch": ["mvcc"],
    "client": ["api"],
    "server": ["watch", "lease", "wal", "raft"],
    "cmd": ["server", "client"],
}

# Folders that are pure as a whole, and headers (with their .cc) elsewhere that must be. Any other
# file becomes pure by saying so: a line of the comment that opens its header starts with "Pure:".
PURE_FOLDERS = ("lease", "raft")
PURE_HEADERS = (
    "mvcc/chain.h",
    "mvcc/row_codec.h",
    "server/command.h",
    "server/node_core.h",
    "server/request_validator.h",
    "wal/format.h",
    "wal/pins.h",
    "wal/recovery.h",
    "wal/segment_gc.h",
    "watch/event_batch.h",
    "watch/interval_index.h",
)

# What no pure file reaches: <header> or "header", the whole name.
IMPURE = re.compile(
    r"(thread|chrono|mutex|shared_mutex|condition_variable|future|semaphore|latch|barrier"
    r"|stop_token|fstream|filesystem|iostream|ctime|time\.h|unistd\.h|fcntl\.h|pthread\.h|sys/.*"
    r"|netinet/.*|poll\.h|dirent\.h|grpc\+*/.*|grpcpp/.*|glog/.*|gflags/.*|rocksdb/.*"
    r"|absl/time/.*|absl/synchronization/.*|base/mutex\.h)$")

# What consensus does without besides: its messages are structs of its own.
NOT_IN_RAFT = re.compile(r"(google/protobuf/.*|.*\.pb\.h)$")

# What nobody includes, and what to take instead.
BANNED_INCLUDES = [
    (re.compile(r"absl/strings/str_"), "use {fmt}"),
    (re.compile(r"bits/"), "include the standard header"),
]
BANNED_WORDS = [
    (re.compile(r"\babsl::(Mutex|MutexLock|CondVar|Notification)\b"),
     "use base/mutex.h: the sanitizer sees it", None),
    (re.compile(r"\bstd::random_device\b"), "seeds come in as values", ("raft", "lease", "mvcc")),
    (re.compile(r"\bsleep_for\b|\bsleep_until\b|\busleep\("), "wait on a condition",
     ("raft", "wal", "mvcc", "lease", "watch", "server", "client")),
    (re.compile(r"\b(TODO|FIXME|XXX)\b"), "do it or drop it", None),
]

FILE_LINES_MAX = 650
FUNCTION_LINES_MAX = 100
TEST_FUNCTION_LINES_MAX = 160
LINE_COLUMNS_MAX = 100

# Files that are long because what they hold is one thing, with the reason.
LONG_FILES = {
    "api/rpc.proto": "one wire contract, as etcd has it in one file",
}

SOURCE_ENDINGS = (".h", ".cc", ".proto", ".py", ".bzl", ".sh")
INCLUDE = re.compile(r'\s*#\s*include\s+([<"])([^>"]+)[>"]')


class Source:
    """One file: its lines, its place, what it includes."""

    def __init__(self, path, text):
        self.path = path
        self.lines = text.splitlines()
        self.folder = path.split("/")[0] if "/" in path else ""
        self.layer = "raft:types" if path == "raft/types.h" else self.folder
        self.is_cpp = path.endswith((".h", ".cc"))
        stem = os.path.basename(path)
        self.is_test = self.folder == "test" or bool(re.search(r"_(test|fuzz|bench)\.cc$", stem))
        # (line number, text between the brackets, is it <>)
        self.includes = []
        if self.is_cpp:
            for number, line in enumerate(self.lines, 1):
                match = INCLUDE.match(line)
                if match:
                    self.includes.append((number, match.group(2), match.group(1) == "<"))

    def opening(self):
        """The comment that the file begins with."""
        comment = []
        for line in self.lines:
            if not line.startswith("//"):
                break
            comment.append(line[2:].strip())
        return comment


def closure(arrows):
    """All layers below each layer, itself included."""
    reach = {}

    def walk(layer):
        if layer not in reach:
            reach[layer] = {layer}.union(*(walk(below) for below in arrows[layer]))
        return reach[layer]

    for layer in arrows:
        walk(layer)
    return reach


def layer_of_include(name):
    if name == "raft/types.h":
        return "raft:types"
    return name.split("/")[0]


def check_arrows(source, reach, violations):
    if source.folder == "test" or source.layer not in reach:
        return
    for number, name, _ in source.includes:
        below = layer_of_include(name)
        if below == "test":
            if not source.is_test:
                violations.append((source.path, number, "production code includes %s" % name))
        elif below in reach and below not in reach[source.layer]:
            violations.append(
                (source.path, number, "%s may not include %s" % (source.layer, name)))


def is_pure(source, sources):
    if not source.is_cpp or source.is_test:
        return False
    if source.folder in PURE_FOLDERS:
        return True
    header = sources.get(re.sub(r"\.cc$", ".h", source.path), source)
    if header.path in PURE_HEADERS:
        return True
    return any(line.startswith("Pure:") for line in header.opening())


def impurity(source, name):
    if IMPURE.match(name):
        return "pure code reaches <%s>" % name
    if source.folder == "raft" and NOT_IN_RAFT.match(name):
        return "consensus reaches <%s>" % name
    return None


def check_purity(source, sources, violations):
    """Walks everything that the file includes, and names the way to what it must not reach."""
    if not is_pure(source, sources):
        return
    seen = {source.path}
    # (file to look at, the file's line that leads there, the way)
    todo = [(source, None, source.path)]
    while todo:
        at, first_line, way = todo.pop()
        for number, name, _ in at.includes:
            line = first_line or number
            complaint = impurity(source, name)
            if complaint:
                violations.append((source.path, line, "%s (%s)" % (complaint, way)))
            elif name in sources and name not in seen:
                seen.add(name)
                todo.append((sources[name], line, way + " -> " + name))


def strip_literals(line):
    """The line without its comment, and with text and characters emptied."""
    line = re.sub(r'"(\\.|[^"\\])*"', '""', line)
    line = re.sub(r"'(\\.|[^'\\])'", "''", line)
    return line.split("//")[0]


def functions(lines):
    """(first line, number of lines) of each function body's statement, by counting braces."""
    scopes = []  # True for a scope that may hold functions, False inside one, else (first line,).
    statement = ""
    start = None
    in_raw = None
    for number, full in enumerate(lines, 1):
        line = full
        if in_raw is not None:
            if in_raw not in line:
                continue
            line = line.split(in_raw, 1)[1]
            in_raw = None
        raw = re.search(r'R"(\w*)\(', line)
        if raw:
            end = ")" + raw.group(1) + '"'
            rest = line[raw.end():]
            line = line[:raw.start()] + '""'
            if end in rest:
                line += rest.split(end, 1)[1]
            else:
                in_raw = end
        line = strip_literals(line)
        if line.lstrip().startswith("#"):
            continue
        for char in line:
            if char not in "{};" and not char.isspace() and not statement:
                start = number
            if char == "{":
                if all(scope is True for scope in scopes):
                    if re.search(r"\b(namespace|extern)\b", statement) or (
                            re.search(r"\b(class|struct|union|enum)\b", statement)
                            and "(" not in statement.split("struct")[-1].split("class")[-1]):
                        scopes.append(True)
                    elif "(" in statement and not statement.rstrip().endswith(("=", ",", "(")):
                        scopes.append((start,))
                    else:
                        scopes.append(False)
                else:
                    scopes.append(False)
                statement = ""
            elif char == "}":
                if scopes:
                    scope = scopes.pop()
                    if isinstance(scope, tuple):
                        yield scope[0], number - scope[0] + 1
                statement = ""
            elif char == ";":
                statement = ""
            elif statement or not char.isspace():
                statement += char
        if statement:
            statement += " "


def check_size(source, violations):
    if len(source.lines) > FILE_LINES_MAX and source.path not in LONG_FILES:
        violations.append((source.path, FILE_LINES_MAX + 1, "%d lines, more than %d" % (
            len(source.lines), FILE_LINES_MAX)))
    for number, line in enumerate(source.lines, 1):
        if len(line) > LINE_COLUMNS_MAX and "http" not in line and not INCLUDE.match(line):
            violations.append((source.path, number, "%d columns, more than %d" % (
                len(line), LINE_COLUMNS_MAX)))
    if not source.is_cpp:
        return
    limit = TEST_FUNCTION_LINES_MAX if source.is_test else FUNCTION_LINES_MAX
    for number, length in functions(source.lines):
        if length > limit:
            violations.append((source.path, number, "a function of %d lines, more than %d" % (
                length, limit)))


def check_words(source, violations):
    for number, name, _ in source.includes:
        for pattern, instead in BANNED_INCLUDES:
            if pattern.match(name):
                violations.append((source.path, number, "%s: %s" % (name, instead)))
    for number, line in enumerate(source.lines, 1):
        for pattern, instead, folders in BANNED_WORDS:
            match = pattern.search(line)
            if match and source.is_cpp and (folders is None or source.folder in folders):
                violations.append((source.path, number, "%s: %s" % (match.group(0), instead)))


def check_header(source, violations):
    if not source.path.endswith(".h"):
        return
    if not source.opening():
        violations.append((source.path, 1, "a header opens with what it is for"))
    guard = "CAIRN_" + re.sub(r"[^A-Z0-9]", "_", source.path.upper()) + "_"
    if "#ifndef " + guard not in source.lines:
        violations.append((source.path, 1, "the include guard is not %s" % guard))


def check(sources):
    """All violations in `sources` (path -> Source), sorted."""
    reach = closure(ARROWS)
    violations = []
    for source in sources.values():
        if source.folder not in ("", "test", "third_party", "docs", "deploy", ".ci") and (
                source.layer not in reach):
            violations.append((source.path, 1, "no layer is named %s" % source.folder))
        check_arrows(source, reach, violations)
        check_purity(source, sources, violations)
        check_size(source, violations)
        check_words(source, violations)
        check_header(source, violations)
    return sorted(set(violations))


def read_tree(root):
    sources = {}
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders
                      if not name.startswith((".", "bazel-")) and name != "__pycache__"]
        for name in files:
            if name.endswith(SOURCE_ENDINGS):
                full = os.path.join(folder, name)
                with open(full, encoding="utf-8") as file:
                    path = os.path.relpath(full, root)
                    sources[path] = Source(path, file.read())
    return sources


def main(arguments):
    root = os.path.dirname(os.path.realpath(arguments[1]))
    sources = read_tree(root)
    violations = check(sources)
    for path, number, text in violations:
        print("%s:%d: %s" % (path, number, text))
    print("%d files, %d violations" % (len(sources), len(violations)))
    # A walk that found next to nothing looked in the wrong place.
    return 1 if violations or len(sources) < 20 else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
