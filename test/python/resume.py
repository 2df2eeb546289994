"""A watcher that outlives its server: resume.py HOST PORT KEY OUTPUT.

Writes `REVISION VALUE` to OUTPUT for each put of KEY from revision 1 on and ends with the value
"end". Whenever the connection is lost it asks for what follows the last event that it saw, as a
user of the library has to.
"""

import sys
import time

import etcd3


def main():
    host, port, key, path = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
    output = open(path, "w")
    client = etcd3.client(host=host, port=port, timeout=5)
    start = 1
    while True:
        try:
            events, _ = client.watch(key, start_revision=start)
            for event in events:
                print(event.mod_revision, event.value.decode(), file=output, flush=True)
                start = event.mod_revision + 1
                if event.value == b"end":
                    return
        except Exception as error:  # the library has many for a server that went away
            print("again after", type(error).__name__, flush=True)
            time.sleep(0.05)


if __name__ == "__main__":
    main()
