"""Writes a source file with one rule broken.

Usage: mutate.py FILE OUTPUT OLD NEW [OLD NEW]...

Each OLD must stand in FILE exactly once, so that a mutant cannot outlive the rule that it breaks.
"""

import sys


def main(path, output, *replacements):
    with open(path, encoding="utf-8") as source:
        text = source.read()
    for old, new in zip(replacements[::2], replacements[1::2]):
        found = text.count(old)
        if found != 1:
            sys.exit("%s holds %d times: %s" % (path, found, old))
        text = text.replace(old, new)
    with open(output, "w", encoding="utf-8") as mutated:
        mutated.write(text)


if __name__ == "__main__":
    main(*sys.argv[1:])
