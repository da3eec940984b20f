"""What a user of redis-py does, in both versions of the protocol. Run with the node's port."""

import sys

import redis


def strings(client):
    assert client.ping()
    assert client.set("py:text", "hello") is True
    assert client.get("py:text") == b"hello"
    assert client.get("py:nothing") is None
    assert client.set("py:bytes", bytes(range(256)))
    assert client.get("py:bytes") == bytes(range(256))
    assert client.mset({"py:a": 1, "py:b": "two"})
    assert client.mget("py:a", "py:nothing", "py:b") == [b"1", None, b"two"]
    assert client.set("py:text", "other", nx=True) is None
    assert client.set("py:text", "other", xx=True, get=True) == b"hello"
    assert client.strlen("py:text") == 5
    assert client.getdel("py:text") == b"other"
    assert client.exists("py:text", "py:a", "py:b") == 2


def numbers(client):
    client.delete("py:count", "py:float")
    assert client.incr("py:count") == 1
    assert client.incrby("py:count", 41) == 42
    assert client.decr("py:count") == 41
    assert client.incrbyfloat("py:float", 0.5) == 0.5
    client.set("py:word", "word")
    try:
        client.incr("py:word")
    except redis.ResponseError as error:
        assert str(error) == "value is not an integer or out of range", error
    else:
        raise AssertionError("a word was counted")


def times(client):
    client.set("py:short", "v", ex=100)
    assert 0 < client.ttl("py:short") <= 100
    assert 0 < client.pttl("py:short") <= 100_000
    assert client.persist("py:short")
    assert client.ttl("py:short") == -1
    assert client.expire("py:short", 50)
    assert client.ttl("py:nothing") == -2
    assert client.pexpire("py:short", 1)
    assert client.type("py:a") == b"string"


def listing(client):
    for number in range(50):
        client.set(f"py:list:{number}", number)
    found = set(client.scan_iter(match="py:list:*", count=7))
    assert found == {f"py:list:{number}".encode() for number in range(50)}, len(found)
    assert client.dbsize() >= 50
    assert client.delete(*found) == 50


def pipelines(client):
    with client.pipeline(transaction=False) as pipeline:
        for number in range(200):
            pipeline.set(f"py:p:{number % 10}", number).get(f"py:p:{number % 10}")
        answers = pipeline.execute()
    assert answers[1::2] == [str(number).encode() for number in range(200)]


def objects(client, protocol):
    assert client.execute_command("ASO.PUT", "py:object", "page", "SCRIPT", "read_counter") == b"OK"
    assert client.get("py:object") == [b"page", 1]
    assert client.execute_command("ASO.GET", "py:object") == [b"page", 2]
    info = client.execute_command("ASO.INFO", "py:object")
    info = info if protocol == 3 else dict(zip(info[::2], info[1::2]))
    assert info[b"script"] == b"read_counter" and info[b"calls"] == 2, info
    assert client.execute_command("ASO.PUT", "py:json", '{"a":[1,2.5,null,true]}', "JSON") == b"OK"
    assert client.execute_command("ASO.GET", "py:json", "JSON") == b'{"a":[1,2.5,null,true]}'
    if protocol == 3:
        assert client.get("py:json") == {b"a": [1, 2.5, None, True]}
    client.execute_command("ASO.SCRIPT", "LOAD", "py_refuse", 'fn onGet() { throw "not today"; }')
    client.execute_command("ASO.PUT", "py:refuse", "v", "SCRIPT", "py_refuse")
    try:
        client.get("py:refuse")
    except redis.ResponseError as error:
        assert str(error) == "REFUSED not today", error
    else:
        raise AssertionError("a refusal came as an answer")


for protocol in (2, 3):
    client = redis.Redis(host="127.0.0.1", port=int(sys.argv[1]), protocol=protocol)
    strings(client)
    numbers(client)
    times(client)
    listing(client)
    pipelines(client)
    objects(client, protocol)
print("done")
