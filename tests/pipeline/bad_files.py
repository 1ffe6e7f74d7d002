"""Files that are wrong, and every fault of each; ``{file}`` stands for the path of the file."""

from __future__ import annotations

HEAD = """
[store]
kind = "memory"
"""
CONSUMER = """
[[consumers]]
topic = "orders"
name = "audit"
"""
HANDLER = f"""{HEAD}{CONSUMER}handler = "tests.pipeline.handlers:take"
"""
SINK = f"""{HEAD}{CONSUMER}[consumers.sink]
"""
HTTP = f"""{SINK}kind = "http"
url = "https://x.example"
"""

BAD = {
    "empty": ("", ['[store] is missing in {file}: add it, with kind = "sqlite" or kind = "memory"']),
    "no table": ("store = 3", ["store in {file} must be a table, not 3"]),
    "no TOML": ("[store", ["{file} is no TOML: Expected ']' at the end of a table declaration (at end of document)"]),
    "unknown table": (f"{HEAD}[consumer]", ["unknown key consumer in {file}; did you mean 'consumers'?"]),
    "unknown key": (f"{HEAD}max_event = 3", ["unknown key store.max_event in {file}; did you mean 'max_events'?"]),
    "key of another kind": (f'{HEAD}path = "x"', ["store.path in {file} is for kind 'sqlite' only"]),
    "unknown store": (
        '[store]\nkind = "sqlit"',
        ["store.kind in {file} must be one of 'memory', 'sqlite', not 'sqlit'; did you mean 'sqlite'?"],
    ),
    "no kind": ("[store]", ['store.kind in {file} is missing, such as kind = "sqlite"']),
    "no path": ('[store]\nkind = "sqlite"', ['store.path in {file} is missing, such as path = "events.db"']),
    "refused by the store": (
        '[store]\nkind = "sqlite"\npath = "x.db"\ndurability = "disk"',
        ["store in {file}: durability must be one of 'process', 'power', not 'disk'"],
    ),
    "wrong type": (
        f'{HEAD}max_events = "many"\non_full = true',
        [
            "store.max_events in {file} must be a whole number, not 'many'",
            "store.on_full in {file} must be a string, not true",
        ],
    ),
    "numbers that nobody can count to": (
        f"{HEAD}max_events = {10**30}\ndedupe_window = inf\n[pipeline]\nstop_timeout = {10**400}",
        [
            "pipeline.stop_timeout in {file} must be a finite number, not one of more than 64 bits",
            "store.max_events in {file} must be a whole number, not one of more than 64 bits",
            "store.dedupe_window in {file} must be a finite number, not inf",
        ],
    ),
    "retention": (
        f"{HEAD}[topics.orders]\nmax_events = 0\nmax_ages = 3",
        [
            "topics.orders in {file}: max_events must be at least 1, not 0",
            "unknown key topics.orders.max_ages in {file}; did you mean 'max_age'?",
        ],
    ),
    "name of a topic": (
        f'{HEAD}[topics."a\\u0007"]',
        ["{file}: the name of a topic must have no white space and no control characters, unlike 'a\\x07'"],
    ),
    "client": (
        f'{HEAD}[client]\nworkers = -2\nworker = 3\nqueue_events = "x"',
        [
            'client.topic in {file} is missing, such as topic = "events"',
            "client.queue_events in {file} must be a whole number, not 'x'",
            "unknown key client.worker in {file}; did you mean 'workers'?",
            "client in {file}: workers must be at least 1, not -2 (default: 16)",
        ],
    ),
    "retry of the client": (
        f'{HEAD}[client]\ntopic = "a"\n[client.retry]\nmax_attempts = 0',
        ["client.retry in {file}: max_attempts must be at least 1, not 0 (default: 10)"],
    ),
    "stop_timeout": (
        f"{HEAD}[pipeline]\nstop_timeout = 0",
        ["pipeline.stop_timeout in {file} must be above 0 and finite, not 0"],
    ),
    "no far end": (
        f"{HEAD}{CONSUMER}",
        ["consumer 'audit' in {file} needs a table sink, or handler = \"package.module:function\""],
    ),
    "two far ends": (
        f'{HANDLER}[consumers.sink]\nkind = "logging"',
        [
            "consumer 'audit' in {file} has both a sink and a handler: give one of them, and the other to a second"
            " consumer"
        ],
    ),
    "no name": (
        f'{HEAD}[[consumers]]\nhandler = "tests.pipeline.handlers:take"\nbatch_events = 0',
        [
            'topic of consumer number 1 in {file} is missing, such as topic = "orders"',
            'name of consumer number 1 in {file} is missing, such as name = "audit"',
            "consumer number 1 in {file}: batch_events must be at least 1, not 0 (default: 500)",
        ],
    ),
    "no array": (f"{HEAD}[consumers]", ["consumers in {file} must be an array of tables, not a table"]),
    "contradiction": (
        f"{HANDLER}concurrency = 3",
        [
            "consumer 'audit' in {file}: concurrency must be 1 with ordered_by='topic', not 3: choose ordered_by='key'"
            " to keep the order of each key, or ordered_by=None to keep none"
        ],
    ),
    "option of a consumer": (
        f"{HANDLER}max_attempt = 3",
        ["unknown key max_attempt of consumer 'audit' in {file}; did you mean 'max_attempts'?"],
    ),
    "twice": (
        f'{HANDLER}{CONSUMER}handler = "tests.pipeline.handlers:take"',
        ["consumer 'audit' in {file}: topic 'orders' has another consumer of that name above"],
    ),
    "start": (
        f'{HANDLER}start = "first"',
        ["consumer 'audit' in {file}: start must be 'earliest', 'latest', an offset or a datetime, not 'first'"],
    ),
    "shard": (
        f"{HANDLER}shard = {{ index = 4, count = 4 }}",
        ["shard of consumer 'audit' in {file}: the index of a shard of 4 must be 0 to 3, not 4"],
    ),
    "no handler": (
        f'{HEAD}{CONSUMER}handler = "tests.pipeline.handlers:tak"',
        [
            "handler of consumer 'audit' in {file}: there is no 'tak' in tests.pipeline.handlers; did you mean 'take'?",
        ],
    ),
    "no module": (
        f'{HEAD}{CONSUMER}handler = "tests.pipeline.handler:take"',
        [
            "handler of consumer 'audit' in {file}: there is no module 'tests.pipeline.handler' here, and none is"
            " installed"
        ],
    ),
    "no name of a function": (
        f'{HEAD}{CONSUMER}handler = "take"',
        ["handler of consumer 'audit' in {file}: must name a function as 'package.module:function', not 'take'"],
    ),
    "unknown sink": (
        f'{SINK}kind = "htp"',
        [
            "sink.kind of consumer 'audit' in {file} must be one of 'http', 'file', 'webhook', 'logging', 'deliveries',"
            " not 'htp'; did you mean 'http'?"
        ],
    ),
    "sink of another kind": (
        f'{HTTP}columns = ["a"]\nrotate_age = 3\ntimeouts = 3',
        [
            "sink.columns of consumer 'audit' in {file} is for kind 'file' only",
            "sink.rotate_age of consumer 'audit' in {file} is for kind 'file' only",
            "unknown key sink.timeouts of consumer 'audit' in {file}; did you mean 'timeout'?",
        ],
    ),
    "refused by the sink": (
        f"{HTTP}timeout = -1",
        [
            "sink of consumer 'audit' in {file}: timeout must be a finite number of seconds above 0, or None, not -1",
        ],
    ),
    "unknown codec": (
        f'{HTTP}codec = "jsn"',
        [
            "sink.codec of consumer 'audit' in {file} must be one of 'json', 'ndjson', 'posthog', 'posthog-v1', '"
            "segment', 'cloudevents', 'otlp', not 'jsn'; did you mean 'json'?"
        ],
    ),
    "codec without its key": (
        f'{HTTP}codec = "posthog"',
        ["sink.codec.api_key of consumer 'audit' in {file} is missing, such as api_key = \"${{POSTHOG_KEY}}\""],
    ),
    "level": (
        f'{SINK}kind = "logging"\nlevel = "inf"',
        [
            "sink.level of consumer 'audit' in {file} must be a level of logging such as 'INFO', not 'inf'; did you"
            " mean 'INFO'?"
        ],
    ),
    "a secret in the file": (
        f'{SINK}kind = "webhook"\nurl = "https://x.example"\nsecret = "hunter2"',
        [
            "sink.secret of consumer 'audit' in {file} must come from the environment, as in secret = \"${{VARIABLE}}\""
            ": files are copied and kept"
        ],
    ),
    "a key in a header": (
        f'{HTTP}headers = {{ authorization = "Bearer hunter2" }}',
        [
            "sink.headers of consumer 'audit' in {file}: authorization must come from the environment, as in"
            ' "${{VARIABLE}}"'
        ],
    ),
    "a header that only looks filled in": (
        f'{HTTP}headers = {{ Cookie = "$${{{{HIDDEN}}}}" }}'.replace("{{HIDDEN}}", "{HIDDEN}"),
        ["sink.headers of consumer 'audit' in {file}: Cookie must come from the environment, as in \"${{VARIABLE}}\""],
    ),
    "an unset variable": (
        f'{HANDLER}outcomes_topic = "${{TOPIC}}"',
        ["outcomes_topic of consumer 'audit' in {file} needs the environment variable 'TOPIC', which is not set"],
    ),
    "deliveries": (
        f"{HEAD}[deliveries]\nretention = 0\nretentio = 3\n[deliveries.policy]\nattempts = 0\ndelays = [1, '2']",
        [
            "deliveries.policy.delays in {file} must be an array of finite numbers, not an array",
            "deliveries.policy in {file}: attempts must be a whole number, at least 1, not 0",
            "unknown key deliveries.retentio in {file}; did you mean 'retention'?",
            "deliveries in {file}: retention must be a finite number of seconds above 0, or None, not 0",
        ],
    ),
    "deliveries in a file that is not shared": (
        '[store]\nkind = "sqlite"\npath = "x.db"\n[deliveries]',
        [
            "deliveries in {file} open the file of the log once more, which needs shared = true in [store]; or give"
            ' them a file of their own, as in path = "deliveries.db"'
        ],
    ),
    "endpoints": (
        f"""{HEAD}[[endpoints]]
name = "a b"
url = "https://x.example/"
secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
[[endpoints]]
url = "https://x.example/"
rate_limits = 3
timeout = 0
[[endpoints]]
name = "both"
url = "https://x.example/"
[endpoints.sink]
kind = "logging"
[[endpoints]]
name = "none"
headers = {{ Authorization = "Bearer x" }}
""",
        [
            "secret of endpoint 'a b' in {file} must come from the environment, as in secret = \"${{VARIABLE}}\": files"
            " are copied and kept",
            "endpoint 'a b' in {file}: the name of an endpoint must have no white space and no control characters, "
            "unlike 'a b'",
            'name of endpoint number 2 in {file} is missing, such as name = "acme"',
            "unknown key rate_limits of endpoint number 2 in {file}; did you mean 'rate_limit'?",
            "endpoint 'both' in {file} has both a url and a sink: give one of them",
            "headers of endpoint 'none' in {file}: Authorization must come from the environment, as in"
            ' "${{VARIABLE}}"',
            "endpoint 'none' in {file} needs url = \"https://acme.example/hooks\", or a table sink",
        ],
    ),
    "endpoint twice": (
        f'{HEAD}[[endpoints]]\nname = "a"\nurl = "https://x.example/"\n[[endpoints]]\nname = "a"\n'
        'url = "https://x.example/"',
        ["endpoint 'a' in {file}: there is another endpoint of that name above"],
    ),
    "sink of an endpoint": (
        f'{HEAD}[[endpoints]]\nname = "a"\n[endpoints.sink]\nkind = "deliveries"',
        [
            "sink.kind of endpoint 'a' in {file} must be one of 'http', 'file', 'webhook', 'logging', not 'deliveries'",
        ],
    ),
    "rules": (
        f"""{HEAD}[[rules]]
name = "none"
events = []
endpoints = ["a"]
[[rules]]
events = "invoice"
[[rules]]
name = "dates"
events = ["*"]
endpoints = ["a"]
where = {{ at = 2026-01-31 }}
""",
        [
            "rule 'none' in {file}: events of rule 'none' must be a list of 1 to 100, not tuple",
            'name of rule number 2 in {file} is missing, such as name = "invoices"',
            "events of rule number 2 in {file} must be an array of strings, not 'invoice'",
            'endpoints of rule number 2 in {file} is missing, such as endpoints = ["acme"]',
            "where.at of rule 'dates' in {file} must be a string, a number, true or false, or an array of these",
        ],
    ),
    "reconciler": (
        f"{HEAD}[reconciler]\nworkers = 0\ninterva = 3\nlock = 3",
        [
            "reconciler.lock in {file} must be a string, not 3",
            "unknown key reconciler.interva in {file}; did you mean 'interval'?",
            "reconciler in {file}: workers must be a whole number, at least 1, or None for one per processor, not 0",
        ],
    ),
    "timeout of the reconciler": (
        f"{HEAD}[reconciler]\nclaim_ttl = 5\ntimeout = 6",
        [
            "reconciler in {file}: timeout must be below claim_ttl (5 s), not 6: lower it, or raise claim_ttl; else"
            " others attempt what is still being attempted here"
        ],
    ),
    "sink of deliveries without any": (
        f'{SINK}kind = "deliveries"',
        ["sink of consumer 'audit' in {file} publishes deliveries, and there are none: add [deliveries]"],
    ),
    "client of deliveries without any": (
        f"{HEAD}[client.deliveries]",
        ["client.deliveries in {file} publishes deliveries, and there are none: add [deliveries]"],
    ),
    "misspelt table of deliveries": (
        f"{HEAD}[delivery]",
        ["unknown key delivery in {file}; did you mean 'deliveries'?"],
    ),
}
