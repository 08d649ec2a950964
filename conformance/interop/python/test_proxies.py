"""The library as a client behind proxies of other make: tinyproxy for HTTP's `CONNECT`, microsocks for SOCKS5. Servers are
those of `websockets`, `ws://` and `wss://`."""

import shutil
import ssl
import subprocess

import pytest
import trustme

from support import AFTER_ECHO, HANGS, Client, Program, binary, echo_all, free_port, running



class Tinyproxy(Program):
    """An HTTP proxy that lets in who knows the password. Its configuration takes no other characters in it."""

    credentials = "ann:pass-word_9@"

    def __init__(self, directory):
        self.port = free_port()
        file = directory / "tinyproxy.conf"
        file.write_text(f"""
            Listen 127.0.0.1
            Port {self.port}
            Timeout {HANGS}
            BasicAuth ann pass-word_9
        """)
        super().__init__(shutil.which("tinyproxy"), "-d", "-c", str(file))
        self.until_listening(self.port)

    def url(self, user_info=credentials):
        return f"http://{user_info}127.0.0.1:{self.port}"


class Microsocks(Program):
    """A SOCKS5 proxy that lets in who knows the password."""

    credentials = "ann:p%40%3As%2Fs@"

    def __init__(self, _directory):
        self.port = free_port()
        command = [shutil.which("microsocks"), "-i", "127.0.0.1", "-p", str(self.port), "-u", "ann", "-P", "p@:s/s"]
        super().__init__(*command, stderr=subprocess.DEVNULL)  # it tells every connection there
        self.until_listening(self.port)

    def url(self, user_info=credentials):
        return f"socks5://{user_info}127.0.0.1:{self.port}"


@pytest.fixture(scope="module", params=[Tinyproxy, Microsocks])
def proxy(request, tmp_path_factory):
    with request.param(tmp_path_factory.mktemp("proxy")) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """An authority, and the file of its certificate."""
    authority = trustme.CA()
    file = tmp_path_factory.mktemp("authority") / "ca.pem"
    authority.cert_pem.write_to_path(file)
    return authority, str(file)


def test_messages_of_every_size_go_through(proxy):
    with running(echo_all) as url:
        assert Client("echo", url, "--proxy", proxy.url()).outcome() == AFTER_ECHO


def test_tls_goes_through_and_is_the_servers(proxy, authority):
    issuer, file = authority
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issuer.issue_cert("localhost").configure_cert(context)
    with running(echo_all, ssl=context) as url:
        through = ["--proxy", proxy.url()]
        # The proxy is given the server's name, and looks it up itself.
        assert "localhost" in url
        assert Client("echo", url, "--ca", file, *through).outcome() == AFTER_ECHO
        assert "UnknownIssuer" in Client("echo", url, *through).error()


def test_who_does_not_know_the_password_is_told_so(proxy):
    with running(echo_all) as url:
        for user_info in ["", "ann:wrong@"]:
            error = Client("echo", url, "--proxy", proxy.url(user_info)).error()
            assert "Proxy" in error, error
            assert "wrong" not in error


def test_a_server_that_is_not_there_is_the_proxys_word(proxy):
    error = Client("echo", f"ws://127.0.0.1:{free_port()}/", "--proxy", proxy.url()).error()
    assert "Proxy" in error, error


def test_a_server_behind_the_proxy_that_refuses_is_told_with_its_status(proxy):
    def refuse(connection, _):
        return connection.respond(401, "who are you?\n")

    with running(echo_all, process_request=refuse) as url:
        assert "401" in Client("echo", url, "--proxy", proxy.url()).error()


def test_the_example_client_talks_through_it(proxy):
    """`client URL --proxy URL`, line by line."""
    with running(echo_all, subprotocols=None) as url:
        command = [binary("OPENLINE_EXAMPLE_CLIENT"), url, "--proxy", proxy.url()]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as client:
            client.stdin.write("hello\n")
            client.stdin.flush()
            assert client.stdout.readline() == "hello\n"
            _, talk = client.communicate(timeout=HANGS)
    assert talk.splitlines() == ["connected: 101 Switching Protocols", "closed: 1000"]
    assert client.returncode == 0
