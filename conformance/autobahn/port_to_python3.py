#!/usr/bin/env python3
"""Makes a Python 3 package `wstest3` of PyPI's autobahntestsuite 25.10.1, which is written for Python 2.

    port_to_python3.py SRC DEST     SRC: the unpacked `autobahntestsuite`; DEST: the directory to make `wstest3` in

Only the fuzzing client and the fuzzing server are taken. The suite's byte strings become latin-1 `str` (each file is
declared `coding: latin-1`, so literal UTF-8 bytes survive), and turn into bytes only in calls in and out of autobahn
0.10.9. No case's logic, payload, timing or expectation is changed.
"""

import os
import re
import shutil
import sys

# What is changed beyond syntax: file → [(old, new)]. Each `old` must be there exactly once, or the port stops.
PATCHES = {
    "case/case.py": [
        ("return pickle.dumps(obj1) == pickle.dumps(obj2)", "return obj1 == obj2"),
    ],
    "case/case10_1_1.py": [
        ("len(self.payload) / self.p.autoFragmentSize", "len(self.payload) // self.p.autoFragmentSize"),
    ],
    "case/case6_x_x.py": [
        ("res = v.validate(vss[:i])", "res = v.validate(vss[:i].encode('latin-1'))"),
    ],
    "case/case9_9_1.py": [
        ("from zope.interface import implements", "from zope.interface import implementer"),
        (
            "class FrameProducer:\n\n   implements(interfaces.IPushProducer)\n",
            "@implementer(interfaces.IPushProducer)\nclass FrameProducer:\n",
        ),
    ],
    "case/case12_x_x.py": [
        (
            "import copy, os, pkg_resources, hashlib, binascii",
            "import copy, os, hashlib\nfrom .. import bin as binascii\nfrom .. import PKGDIR",
        ),
        # Payloads stay bytes inside this file.
        (
            "   m = hashlib.sha1()\n   m.update(msg)\n   received_hash",
            "   msg = msg.encode('latin-1')\n   m = hashlib.sha1()\n   m.update(msg)\n   received_hash",
        ),
        ("      msg = ''\n", "      msg = payload[:0]\n"),
    ],
    "fuzzing.py": [
        (
            "import os, json, binascii, time, textwrap, pkg_resources",
            "import os, json, time, textwrap\nfrom . import bin as binascii\nfrom .bin import b as _b, s as _s\n"
            "from . import PKGDIR",
        ),
        (
            "from twisted.internet import reactor, ssl\n",
            "from twisted.internet import reactor\n"
            "try:\n   from twisted.internet import ssl\nexcept ImportError:\n   ssl = None\n",
        ),
        ("import autobahntestsuite\n", "import wstest3 as autobahntestsuite\n"),
        (
            'File(pkg_resources.resource_filename("autobahntestsuite",\n'
            '                                                    "web/fuzzingserver"))',
            'File(os.path.join(PKGDIR, "web/fuzzingserver"))',
        ),
        # The fuzzing server is for this machine only.
        ("listenWS(factory, sslContext)", 'listenWS(factory, sslContext, interface="127.0.0.1")'),
        (
            'def asciiLogData(data, maxlen = 64, replace = False):\n   ellipses = " ..."',
            'def asciiLogData(data, maxlen = 64, replace = False):\n   data = _b(data)\n   ellipses = b" ..."',
        ),
        ("p = ''.join(payload)", "p = b''.join(payload)"),
        ("mmask = binascii.b2a_hex(t[6])", "mmask = str(t[6])"),
        ("ll.encode('utf8')", "ll"),
        ('c[1])).encode("utf-8"))', "c[1])))"),
        (
            "\"httpRequest\": self.http_request_data if hasattr(self, 'http_request_data') else '?'",
            "\"httpRequest\": _s(getattr(self, 'http_request_data', '?'))",
        ),
        (
            "\"httpResponse\": self.http_response_data if hasattr(self, 'http_response_data') else '?'",
            "\"httpResponse\": _s(getattr(self, 'http_response_data', '?'))",
        ),
        ('"localCloseReason": self.localCloseReason,', '"localCloseReason": _s(self.localCloseReason),'),
        (
            "self.contextFactory = ssl.ClientContextFactory()",
            "self.contextFactory = ssl.ClientContextFactory() if ssl else None",
        ),
        ('log.msg("Pong received: " + payload)', 'log.msg("Pong received: %r" % payload)'),
        ("         self.runCase.onMessage(msg, binary)", "         self.runCase.onMessage(_s(msg), binary)"),
        (
            "   def onPong(self, payload):\n      if self.runCase:\n         self.runCase.onPong(payload)",
            '''   def sendFrame(self, opcode, payload = b'', *a, **k):
      return super().sendFrame(opcode, _b(payload), *a, **k)

   def sendMessage(self, payload, *a, **k):
      return super().sendMessage(_b(payload), *a, **k)

   def sendMessageFrame(self, payload, sync = False):
      return super().sendMessageFrame(_b(payload), sync)

   def sendMessageFrameData(self, payload, sync = False):
      return super().sendMessageFrameData(_b(payload), sync)

   def sendCloseFrame(self, code = None, reasonUtf8 = None, isReply = False):
      if isinstance(reasonUtf8, str):
         reasonUtf8 = reasonUtf8.encode('utf-8' if isReply else 'latin-1')
      return super().sendCloseFrame(code, reasonUtf8, isReply)

   def onPong(self, payload):
      if self.runCase:
         self.runCase.onPong(_s(payload))''',
        ),
    ],
}

NEW_FILES = {
    "__init__.py": '''import os
from ._version import __version__
version = __version__
PKGDIR = os.path.dirname(os.path.abspath(__file__))
''',
    "__main__.py": '''"""python -m wstest3 (fuzzingclient|fuzzingserver) SPEC.json"""
import json, sys
from . import compat  # must be first
from twisted.internet import reactor
from . import fuzzing

mode, spec = sys.argv[1], json.load(open(sys.argv[2]))
if mode == "fuzzingclient":
    fuzzing.startClient(spec)
elif mode == "fuzzingserver":
    fuzzing.startServer(spec, 0)
else:
    sys.exit(__doc__)
reactor.run()
''',
    "bin.py": '''"""Bytes, and latin-1 str that stands for them."""
import binascii as _ba


def b(x):
    return x.encode("latin-1") if isinstance(x, str) else x


def s(x):
    return x.decode("latin-1") if isinstance(x, (bytes, bytearray)) else x


def b2a_hex(x):
    return _ba.b2a_hex(b(x)).decode("ascii")


hexlify = b2a_hex
''',
    "compat.py": '''"""Fixes to autobahn 0.10.9 for Python 3, at run time."""
import warnings

warnings.simplefilter("ignore")
import txaio

txaio.use_twisted()
import autobahn.websocket.protocol as P

_send = P.WebSocketProtocol.sendFrame


def sendFrame(self, opcode, payload=b"", fin=True, rsv=0, mask=None, payload_len=None, chopsize=None, sync=False):
    # autobahn's own range(payload_len / len(payload)) is a float on Python 3.
    if payload_len is not None:
        if len(payload) < 1:
            raise Exception("cannot construct repeated payload")
        payload = payload * (payload_len // len(payload)) + payload[: payload_len % len(payload)]
    return _send(self, opcode, payload, fin, rsv, mask, None, chopsize, sync)


P.WebSocketProtocol.sendFrame = sendFrame
''',
}


def main(src, dest):
    dest = os.path.join(dest, "wstest3")
    shutil.rmtree(dest, ignore_errors=True)
    os.makedirs(os.path.join(dest, "case"))
    files = ["fuzzing.py", "caseset.py", "report.py", "_version.py"]
    files += [f"case/{name}" for name in sorted(os.listdir(os.path.join(src, "case"))) if name.endswith(".py")]
    for name in files:
        with open(os.path.join(src, name), encoding="latin-1", newline="") as file:
            text = file.read().replace("\r\n", "\n")
        with open(os.path.join(dest, name), "w", encoding="latin-1") as file:
            file.write(port(name, text, src))
    for name, text in NEW_FILES.items():
        with open(os.path.join(dest, name), "w", encoding="utf-8") as file:
            file.write(text)
    for name in ("testdata", "web"):
        if os.path.isdir(os.path.join(src, name)):
            shutil.copytree(os.path.join(src, name), os.path.join(dest, name))


def port(name, text, src):
    text = syntax(text, "case" if name.startswith("case/") else "", src)
    for old, new in PATCHES.get(name, []):
        if text.count(old) != 1:
            sys.exit(f"{name}: {old!r} is there {text.count(old)} times, not once")
        text = text.replace(old, new)
    if name == "case/case12_x_x.py":
        text = text.replace('pkg_resources.resource_filename("autobahntestsuite", ', "os.path.join(PKGDIR, ")
    if name == "report.py":
        # The HTML templates are of no use here, and would need jinja2.
        text = text[: text.index("REPORT_DIR_PERMISSIONS")].replace("import jinja2\n", "")
    if name == "fuzzing.py":
        written = ", 'w', encoding='utf-8', errors='backslashreplace')"
        text = text.replace("', 'w')", "'" + written).replace("_filename), 'w')", "_filename)" + written)
    return text


def syntax(text, package, src):
    """What a line can be rewritten for by itself."""
    siblings = {name[:-3] for name in os.listdir(os.path.join(src, package)) if name.endswith(".py")}
    if not package:
        siblings.add("case")

    def relative(match):
        return f"{match[1]}from .{match[2]} import" if match[2] in siblings else match[0]

    text = re.sub(r"^# coding=.*\n", "", text)
    text = re.sub(r"^([ \t]*)from (\w+) import", relative, text, flags=re.M)
    text = re.sub(r"^([ \t]*)print[ \t]*$", r"\1print()", text, flags=re.M)
    text = re.sub(r"^([ \t]*)print (.*)$", r"\1print(\2)", text, flags=re.M)
    text = re.sub(r"(\S+)\.has_key\(([^()]*)\)", r"(\2 in \1)", text)
    text = re.sub(r"\bxrange\(", "range(", text)
    text = re.sub(r"\bunichr\(", "chr(", text)
    text = re.sub(r"except (\w+), (\w+):", r"except \1 as \2:", text)
    text = re.sub(r"except \(([^)]*)\), (\w+):", r"except (\1) as \2:", text)
    text = re.sub(r"^import binascii$", f"from {'..' if package else '.'} import bin as binascii", text, flags=re.M)
    text = text.replace("(object, Case, )", "(Case, )")
    text = re.sub(r"= 0([0-7]{3})$", r"= 0o\1", text, flags=re.M)
    return "# coding: latin-1\n" + text


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2])
