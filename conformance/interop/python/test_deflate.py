"""permessage-deflate with Python's `websockets`, which has zlib's own compressor, in both roles: all that either side can
ask for."""

import itertools
import json
import random
from concurrent.futures import ThreadPoolExecutor

import pytest
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory, ServerPerMessageDeflateFactory
from websockets.sync.client import connect

from support import AFTER_TALK, HANGS, Client, Echo, echo_all, running

FLAGS = list(itertools.product([False, True], repeat=2))
NOISE = random.Random(7692).randbytes(20_000)
TEXT = json.dumps([{"flight": f"UA{n}", "gate": "C71", "status": "boarding"} for n in range(1545, 1550)])


@pytest.fixture(scope="module")
def deflating():
    with Echo("--deflate") as echo:
        yield echo


@pytest.mark.parametrize("server_bits", [None, *range(8, 16)])
def test_a_server_grants_all_that_a_client_can_ask_for(deflating, server_bits):
    for (server_alone, client_alone), client_bits in itertools.product(FLAGS, [None, True, *range(9, 16)]):
        offer = ClientPerMessageDeflateFactory(server_alone, client_alone, server_bits, client_bits)
        with connect(deflating.url, compression=None, extensions=[offer], proxy=None, open_timeout=HANGS) as ws:
            agreed, = ws.protocol.extensions
            assert (agreed.remote_no_context_takeover, agreed.local_no_context_takeover) == (server_alone, client_alone)
            assert agreed.remote_max_window_bits == (server_bits or 15)
            assert agreed.local_max_window_bits == (15 if client_bits in (None, True) else client_bits)
            sizes = measured(agreed)
            for message in [TEXT, TEXT, NOISE + NOISE, "", NOISE[:256] * 5]:
                ws.send(message)
                assert ws.recv(HANGS) == message
        first, second, noise = sizes[:3]
        assert first < len(TEXT) * 0.7
        # An earlier message is referred to where that was agreed on, and no further back than the window is wide.
        assert second == first if server_alone else second < first * 0.7
        assert noise < len(NOISE) * 1.1 if (server_bits or 15) == 15 else noise > len(NOISE) * 1.9


def measured(extension):
    """A list that the payload sizes of frames are added to as they come, compressed or not."""
    sizes = []
    decode = extension.decode

    def measure(frame, **options):
        sizes.append(len(frame.data))
        return decode(frame, **options)

    extension.decode = measure
    return sizes


@pytest.mark.parametrize("server_bits", [None, *range(9, 16)])
def test_a_client_does_all_that_a_server_can_ask_for(server_bits):
    def check(flags, client_bits):
        server_alone, client_alone = flags
        # Our client always says that it can lower its window, so that a server may insist on it.
        insist = client_bits is not None
        grant = ServerPerMessageDeflateFactory(server_alone, client_alone, server_bits, client_bits,
                                               require_client_max_window_bits=insist)
        with running(echo_all, compression=None, extensions=[grant]) as url:
            client = Client("talk", url, "--deflate", "")
            assert client.outcome() == AFTER_TALK
        assert client.wire["extensions"] == parameters(server_alone, client_alone, server_bits, client_bits)
        check_sizes(client.wire["received"], server_alone, server_bits)
        check_sizes(client.wire["sent"], client_alone, client_bits)

    side_by_side(check, itertools.product(FLAGS, [None, *range(8, 16)]))


@pytest.mark.parametrize("server_bits", range(8, 16))
def test_a_server_does_all_that_a_client_can_ask_for(server_bits):
    def check(flags, client_bits):
        server_alone, client_alone = flags
        asked = parameters(server_alone, client_alone, server_bits, client_bits).removeprefix("permessage-deflate")
        with running(echo_all, compression="deflate") as url:
            client = Client("talk", url, "--deflate", asked.lstrip("; "))
            assert client.outcome() == AFTER_TALK
        if server_bits == 8:
            # zlib has no raw compressor of 8 bits, so `websockets` declines, and nothing is compressed.
            assert client.wire["extensions"] is None
            assert min(client.wire["received"], client.wire["sent"]) > len(NOISE) * 3
            return
        # `websockets` has 12 bits where nothing less is asked for.
        server_granted, client_granted = min(server_bits, 12), min(client_bits, 12)
        assert client.wire["extensions"] == parameters(server_alone, client_alone, server_granted, client_granted)
        check_sizes(client.wire["received"], server_alone, server_granted)
        check_sizes(client.wire["sent"], client_alone, client_granted)

    side_by_side(check, itertools.product(FLAGS, range(8, 16)))


def test_a_server_without_compression_declines(echo):
    with connect(echo.url, compression="deflate", proxy=None, open_timeout=HANGS) as ws:
        assert ws.protocol.extensions == []
        ws.send(TEXT)
        assert ws.recv(HANGS) == TEXT


def test_a_client_lives_with_a_server_that_declines():
    with running(echo_all, compression=None) as url:
        client = Client("talk", url, "--deflate", "")
        assert client.outcome() == AFTER_TALK
    assert client.wire["extensions"] is None


def parameters(server_alone, client_alone, server_bits, client_bits):
    """The value of `Sec-WebSocket-Extensions` that says so."""
    parts = ["permessage-deflate"]
    parts += ["server_no_context_takeover"] if server_alone else []
    parts += ["client_no_context_takeover"] if client_alone else []
    parts += [f"server_max_window_bits={server_bits}"] if server_bits else []
    parts += [f"client_max_window_bits={client_bits}"] if client_bits else []
    return "; ".join(parts)


def check_sizes(size, alone, bits):
    """Of the 60,000 bytes of noise that `talk` sends, a window of 15 bits saves what comes again: within a message, and,
    if messages need not stand alone, in the next one, too."""
    distinct = 3 if (bits or 15) < 15 else 2 if alone else 1
    assert 20_000 * distinct < size < 20_000 * distinct + 4_000


def side_by_side(check, cases):
    with ThreadPoolExecutor(4) as pool:
        for _ in pool.map(lambda case: check(*case), cases):
            pass
