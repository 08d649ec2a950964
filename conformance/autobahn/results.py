"""What the suite's verdicts are worth, and the files in `results/` that tell of whole runs."""

import collections
import datetime
import json
import pathlib
import platform
import re

import bridge

HERE = pathlib.Path(__file__).resolve().parent
SUITE = "autobahntestsuite 25.10.1"
ALL_CASES = 517

# The runs of ci/conformance.sh, by the names of their files.
RECORDED = ["server", "client", "server-http2", "client-http2"]

# Cases on which the suite itself passes no judgement, whatever the peer does.
INFORMATIONAL = {
    "7.1.6": "256 KiB of text, a Close and a ping sent at once: how much is echoed before the close is up to the peer",
    "7.13.1": "close code 5000: RFC 6455 says nothing of codes past 4999; ours fails the connection with 1002",
    "7.13.2": "close code 65535: the same",
}

CATEGORIES = {
    1: "framing",
    2: "pings and pongs",
    3: "reserved bits",
    4: "opcodes",
    5: "fragmentation",
    6: "UTF-8",
    7: "close",
    9: "limits and performance",
    10: "automatic fragmentation",
    12: "compression: payloads",
    13: "compression: parameters",
}


def judge(cases, results):
    """What did not come out as it must. The suite itself always exits with 0, and a refused connection silently
    shortens its report: so every case is looked for."""
    failures = []
    for case in cases:
        wanted = "INFORMATIONAL" if case in INFORMATIONAL else "OK"
        if outcome(results, case) != f"{wanted}/{wanted}":
            failures.append(f"{case}: {outcome(results, case)}, not {wanted}/{wanted}")
    return failures


def outcome(results, case):
    result = results.get(case)
    return f"{result['behavior']}/{result['behaviorClose']}" if result else "NOT RUN"


def tally(results):
    counts = collections.Counter(outcome(results, case).split("/")[0] for case in results)
    return ", ".join(f"{count} {name}" for name, count in counts.most_common())


def record(options, cases, results, failures):
    """Writes the result as a file that people and programs can read."""
    categories = collections.defaultdict(collections.Counter)
    for case in cases:
        number = int(case.split(".")[0])
        categories[f"{number} {CATEGORIES[number]}"][outcome(results, case).split("/")[0]] += 1
    text = json.dumps({
        "date": datetime.date.today().isoformat(),
        "openline": version(),
        "suite": SUITE,
        "python": platform.python_version(),
        "role": options.role,
        "http": f"2, through {options.bridge} {bridge.version(options.bridge)}" if options.bridge else "1.1",
        "set": options.cases or str(options.set),
        "cases": len(cases),
        "categories": categories,
        "informational": {case: why for case, why in INFORMATIONAL.items() if case in cases},
        "failures": failures,
    }, indent=2)
    options.record.write_text(text + "\n")


def check_recorded():
    """Whether the recorded results are as they must be: there, of all cases, with no exception that is not known, and of this
    version; the exit status."""
    wrong = []
    for name in RECORDED:
        file = HERE / "results" / f"{name}.json"
        if not file.is_file():
            wrong.append(f"{name} was never recorded: run ci/conformance.sh --record {name}")
            continue
        told = json.loads(file.read_text())
        counts = collections.Counter()
        for category in told["categories"].values():
            counts.update(category)
        wanted = {"OK": ALL_CASES - len(INFORMATIONAL), "INFORMATIONAL": len(INFORMATIONAL)}
        if counts != wanted or told["failures"] or told["informational"].keys() != INFORMATIONAL.keys():
            wrong.append(f"{name}: {dict(counts)} and {len(told['failures'])} failures, not {wanted} and none")
        if (told["openline"], told["suite"]) != (version(), SUITE):
            wrong.append(f"{name}: of {told['openline']} and {told['suite']}, not of {version()} and {SUITE}; "
                         f"run ci/conformance.sh --record {name}")
        if name != told["role"] + ("-http2" if told["http"].startswith("2") else ""):
            wrong.append(f"{name}: of another run, {told['role']} over HTTP/{told['http']}")
        print(f"{name} over HTTP/{told['http']}: {dict(counts)}, recorded on {told['date']}")
    for line in wrong:
        print(f"  {line}")
    return 1 if wrong else 0


def version():
    manifest = (HERE.parents[1] / "Cargo.toml").read_text()
    return re.search(r'^version = "(.*)"$', manifest, re.M)[1]
