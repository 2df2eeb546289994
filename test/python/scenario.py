"""What a user of python3-etcd3 does, against a fresh server: scenario.py HOST PORT.

Every step asserts; the first one that fails ends the run with a traceback and exit code 1.
"""

import queue
import sys

import etcd3


def put_and_get(client):
    assert client.get("greeting") == (None, None)
    response = client.put("greeting", "hello")
    assert response.header.revision == 2
    value, metadata = client.get("greeting")
    assert value == b"hello"
    assert metadata.key == b"greeting"
    assert (metadata.create_revision, metadata.mod_revision, metadata.version) == (2, 2, 1)
    assert metadata.lease_id == 0
    response = client.put("greeting", "hi", prev_kv=True)
    assert response.prev_kv.value == b"hello"
    assert client.get("greeting")[1].version == 2
    assert client.get("greeting", serializable=True)[0] == b"hi"


def bytes_of_any_kind(client):
    key = bytes(range(256))
    client.put(key, key[::-1])
    assert client.get(key)[0] == key[::-1]
    client.put("empty", "")
    assert client.get("empty")[0] == b""
    assert client.delete(key)
    assert client.delete("empty")


def ranges(client):
    for number in range(10):
        client.put(f"range/{number}", f"value {number}")
    found = [(metadata.key, value) for value, metadata in client.get_prefix("range/")]
    assert found == [(b"range/%d" % n, b"value %d" % n) for n in range(10)], found
    found = [
        metadata.key
        for _, metadata in client.get_prefix("range/", sort_order="descend", sort_target="key")
    ]
    assert found == [b"range/%d" % n for n in reversed(range(10))], found
    found = [metadata.key for _, metadata in client.get_range("range/3", "range/6")]
    assert found == [b"range/3", b"range/4", b"range/5"], found
    assert len(list(client.get_all())) == 11
    assert list(client.get_prefix("nothing/")) == []


def transactions(client):
    client.put("txn/a", "1")
    succeeded, responses = client.transaction(
        compare=[
            client.transactions.value("txn/a") == "1",
            client.transactions.version("txn/a") > 0,
            client.transactions.mod("txn/b") == 0,
        ],
        success=[
            client.transactions.put("txn/b", "2"),
            client.transactions.get("txn/b"),
            client.transactions.delete("txn/a"),
        ],
        failure=[client.transactions.put("txn/failed", "yes")],
    )
    assert succeeded
    assert len(responses) == 3
    assert responses[1][0][0] == b"2"
    assert client.get("txn/a") == (None, None)
    assert client.get("txn/failed") == (None, None)
    succeeded, responses = client.transaction(
        compare=[client.transactions.create("txn/b") == 0],
        success=[client.transactions.put("txn/b", "wrong")],
        failure=[client.transactions.get("txn/b")],
    )
    assert not succeeded
    assert responses[0][0][0] == b"2"


def replace_and_put_if_absent(client):
    client.put("replaced", "old")
    assert client.replace("replaced", "old", "new")
    assert not client.replace("replaced", "old", "newer")
    assert client.get("replaced")[0] == b"new"
    assert client.put_if_not_exists("absent", "first")
    assert not client.put_if_not_exists("absent", "second")
    assert client.get("absent")[0] == b"first"


def deletes(client):
    client.put("gone", "x")
    assert client.delete("gone")
    assert not client.delete("gone")
    response = client.delete_prefix("range/")
    assert response.deleted == 10
    assert list(client.get_prefix("range/")) == []


def leases(client):
    lease = client.lease(100)
    assert lease.granted_ttl == 100
    assert 90 <= lease.remaining_ttl <= 100
    client.put("leased/b", "1", lease=lease)
    client.put("leased/a", "2", lease=lease.id)
    assert client.get("leased/a")[1].lease_id == lease.id
    assert sorted(lease.keys) == [b"leased/a", b"leased/b"]
    assert [response.TTL for response in lease.refresh()] == [100]
    client.put("leased/a", "3")
    assert lease.keys == [b"leased/b"]
    lease.revoke()
    assert [metadata.key for _, metadata in client.get_prefix("leased/")] == [b"leased/a"]
    assert client.get_lease_info(lease.id).TTL == -1
    assert [response.TTL for response in lease.refresh()] == [0]

    named = client.lease(60, lease_id=123456789)
    assert named.id == 123456789
    try:
        client.put("leased/c", "4", lease=987654321)
    except Exception as error:
        assert "requested lease not found" in str(error), error
    else:
        raise AssertionError("a lease that is not there was accepted")
    named.revoke()

    # A lock holds a lease of its own.
    with client.lock("leased/lock", ttl=20) as lock:
        assert lock.is_acquired()
    assert not lock.is_acquired()
    assert client.delete("leased/a")


def status_and_members(client):
    status = client.status()
    major, minor, patch = status.version.split(".")
    assert int(major) == 3 and int(minor) >= 4 and patch.isdigit(), status.version
    assert status.db_size > 0
    assert status.raft_index > 0
    assert status.raft_term > 0
    members = list(client.members)
    assert len(members) == 1
    assert members[0].name == "one"
    assert members[0].id == status.leader.id
    assert members[0].client_urls[0].startswith("http://127.0.0.1:")
    assert members[0].peer_urls[0].startswith("http://127.0.0.1:")


def compaction(client):
    revision = client.put("compacted", "1").header.revision
    client.put("compacted", "2")
    client.compact(revision)
    client.compact(revision + 1, physical=True)
    for refused in (revision, revision + 1000):
        try:
            client.compact(refused)
        except Exception as error:  # the binding has no error of its own for it
            text = str(error)
            assert "compacted" in text or "future revision" in text, text
        else:
            raise AssertionError(f"compaction to {refused} was not refused")
    assert client.get("compacted")[0] == b"2"


def take(iterator, count):
    return [next(iterator) for _ in range(count)]


def watches(client):
    revision = client.put("watched/a", "1").header.revision
    events, cancel = client.watch_prefix("watched/", start_revision=revision, prev_kv=True)
    single, cancel_single = client.watch("watched/b", start_revision=revision)
    client.put("watched/a", "2")
    client.put("elsewhere", "x")
    client.put("watched/b", "3")
    client.delete("watched/a")
    seen = [(type(e).__name__, e.key, e.value, e.prev_value) for e in take(events, 4)]
    assert seen == [
        ("PutEvent", b"watched/a", b"1", b""),
        ("PutEvent", b"watched/a", b"2", b"1"),
        ("PutEvent", b"watched/b", b"3", b""),
        ("DeleteEvent", b"watched/a", b"", b"2"),
    ], seen
    assert [(e.key, e.value) for e in take(single, 1)] == [(b"watched/b", b"3")]
    cancel()
    cancel_single()
    # Callbacks of several watchers over one stream.
    received = queue.Queue()
    ids = [
        client.add_watch_callback("called/%d" % n, lambda response: received.put(response))
        for n in range(5)
    ]
    for n in range(5):
        client.put("called/%d" % n, str(n))
    keys = []
    while len(keys) < 5:
        keys += [event.key for event in received.get(timeout=60).events]
    assert sorted(keys) == [b"called/%d" % n for n in range(5)], keys
    for watch_id in ids:
        client.cancel_watch(watch_id)


def watch_of_the_compacted(client):
    for value in range(4):
        revision = client.put("forgotten", str(value)).header.revision
    client.compact(revision)
    events, _ = client.watch("forgotten", start_revision=revision - 2)
    try:
        next(events)
    except etcd3.exceptions.RevisionCompactedError as error:
        assert error.compacted_revision == revision, error.compacted_revision
    else:
        raise AssertionError("a watch from a compacted revision was not cancelled")


def maintenance(client):
    client.defragment()
    assert list(client.list_alarms()) == []
    assert client.hash() is not None


def errors(client):
    try:
        client.put("", "no key")
    except Exception as error:
        assert "key is not provided" in str(error), error
    else:
        raise AssertionError("an empty key was not refused")


def main():
    host, port = sys.argv[1], int(sys.argv[2])
    client = etcd3.client(host=host, port=port, timeout=60)
    for step in (
        put_and_get,
        bytes_of_any_kind,
        ranges,
        transactions,
        replace_and_put_if_absent,
        deletes,
        leases,
        status_and_members,
        compaction,
        watches,
        watch_of_the_compacted,
        maintenance,
        errors,
    ):
        step(client)
        print(step.__name__, "ok", flush=True)


if __name__ == "__main__":
    main()
