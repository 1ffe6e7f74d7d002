"""The tables of a log and of deliveries in SQLite, and how a file of an earlier version becomes one of this."""

from __future__ import annotations

import sqlite3
from typing import Final

from eventpipe.stores.sqlite_opening import Scheme

APPLICATION_ID: Final = 0x45765069  # "EvPi"

# Offsets and topics are one number, the place, so that an append goes to the end of a topic's part of one tree, and a
# read of neighbours reads neighbouring pages. 2**40 events of each of 2**23 topics.
OFFSET_BITS: Final = 40
OFFSET_MASK: Final = (1 << OFFSET_BITS) - 1

_VERSION_1: Final = """
CREATE TABLE topics (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL UNIQUE,
  first INTEGER NOT NULL DEFAULT 0,      -- the lowest offset that is kept
  "end" INTEGER NOT NULL DEFAULT 0,      -- the offset of the next event
  events INTEGER NOT NULL DEFAULT 0,
  bytes INTEGER NOT NULL DEFAULT 0,
  dropped INTEGER NOT NULL DEFAULT 0,    -- by retention, before some consumer had settled them
  damaged INTEGER NOT NULL DEFAULT 0,
  is_wanted INTEGER NOT NULL DEFAULT 0,  -- an append found no room, and somebody may wait for it
  max_events INTEGER,
  max_bytes INTEGER,
  max_age REAL,
  on_full TEXT NOT NULL DEFAULT 'reject'
);
CREATE TABLE events (
  place INTEGER PRIMARY KEY,             -- topic << 40 | offset
  topic INTEGER NOT NULL,
  id BLOB,                               -- NULL: a replay
  appended_at REAL NOT NULL,
  size INTEGER NOT NULL,
  checksum INTEGER NOT NULL,
  name BLOB NOT NULL,
  extra BLOB,
  data BLOB NOT NULL
);
CREATE UNIQUE INDEX events_by_id ON events (topic, id);
CREATE TABLE past_ids (                  -- of events that were dropped within the window in which ids are known
  topic INTEGER NOT NULL,
  id BLOB NOT NULL,
  "offset" INTEGER NOT NULL,
  ends_at REAL NOT NULL,
  PRIMARY KEY (topic, id)
) WITHOUT ROWID;
CREATE INDEX past_ids_by_end ON past_ids (ends_at);
CREATE TABLE damaged (                   -- what did not pass its checksum, as it was found
  place INTEGER PRIMARY KEY,
  fault TEXT NOT NULL,
  "row" BLOB
);
CREATE TABLE consumers (
  id INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used again: claims are numbered from it
  topic INTEGER NOT NULL,
  name TEXT NOT NULL,
  position INTEGER NOT NULL,             -- the lowest offset that is not settled, or where it begins
  has_cursor INTEGER NOT NULL DEFAULT 0, -- whether it has ever settled an event
  next INTEGER NOT NULL,                 -- where it goes on
  handed INTEGER NOT NULL,               -- everything before it was handed out once at least
  token INTEGER,
  claims INTEGER NOT NULL,               -- the number of the last one
  fence INTEGER NOT NULL,                -- claims up to this one can settle nothing
  is_paused INTEGER NOT NULL DEFAULT 0,
  gap INTEGER NOT NULL DEFAULT 0,        -- events dropped that it was not told of
  skipped INTEGER NOT NULL DEFAULT 0,
  dead INTEGER NOT NULL DEFAULT 0,
  dropped INTEGER NOT NULL DEFAULT 0,
  last_error TEXT,
  UNIQUE (topic, name)
);
CREATE TABLE marks (                     -- events of which a consumer's row alone does not say how they stand
  consumer INTEGER NOT NULL,
  "offset" INTEGER NOT NULL,
  state INTEGER NOT NULL,                -- 0 settled, 1 given back, 2 handed out
  attempts INTEGER NOT NULL,
  claim INTEGER NOT NULL,
  due_at REAL,                           -- NULL: not before the consumer's lease changes hands
  PRIMARY KEY (consumer, "offset")
) WITHOUT ROWID;
CREATE INDEX marks_by_due ON marks (consumer, due_at) WHERE due_at IS NOT NULL;
CREATE TABLE leases (
  name TEXT PRIMARY KEY,
  token INTEGER NOT NULL,
  holder TEXT,                           -- NULL: nobody
  ends_at REAL                           -- NULL: with the process that holds the file
) WITHOUT ROWID;
"""

# Text is kept as bytes: a bit that flips in it is then no error of SQLite, and is met by a checksum, or shown as it is.
_VERSION_2: Final = """
CREATE TABLE endpoints (
  id INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used again: rows of a removed endpoint stay its own
  name BLOB NOT NULL,
  is_removed INTEGER NOT NULL DEFAULT 0,
  version INTEGER NOT NULL,
  info BLOB NOT NULL,                    -- what everybody may see, as JSON
  checksum INTEGER NOT NULL
);
CREATE UNIQUE INDEX endpoints_in_use ON endpoints (name) WHERE NOT is_removed;
CREATE INDEX endpoints_by_name ON endpoints (name);
CREATE TABLE endpoint_secrets (
  endpoint INTEGER PRIMARY KEY,
  private BLOB NOT NULL,
  checksum INTEGER NOT NULL
);
CREATE TABLE rules (
  name BLOB PRIMARY KEY,
  rule BLOB NOT NULL,                    -- as JSON
  checksum INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE published (
  id INTEGER PRIMARY KEY,
  uuid BLOB NOT NULL UNIQUE,
  dedupe_key BLOB,
  published_at REAL NOT NULL,
  deliveries INTEGER NOT NULL,           -- how many there were when it was published
  payload_version INTEGER NOT NULL,
  size INTEGER NOT NULL,
  checksum INTEGER NOT NULL,
  name BLOB NOT NULL,
  extra BLOB,
  data BLOB NOT NULL
);
CREATE UNIQUE INDEX published_by_key ON published (dedupe_key) WHERE dedupe_key IS NOT NULL;
CREATE INDEX published_by_time ON published (published_at, uuid);
CREATE INDEX published_to_nobody ON published (published_at, uuid) WHERE deliveries = 0;
CREATE TABLE deliveries (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  event INTEGER NOT NULL,
  endpoint INTEGER NOT NULL,
  checksum INTEGER NOT NULL,             -- of what never changes
  state INTEGER NOT NULL,                -- 0 pending, 1 sending, 2 success, 3 failed, 4 resending
  reason INTEGER,
  attempts INTEGER NOT NULL DEFAULT 0,
  total_attempts INTEGER NOT NULL DEFAULT 0,
  resends INTEGER NOT NULL DEFAULT 0,
  version INTEGER NOT NULL DEFAULT 1,
  created_at REAL NOT NULL,
  due_at REAL,                           -- NULL: it is settled
  deadline_at REAL NOT NULL,
  settled_at REAL,
  claimed_until REAL,
  holder BLOB,                           -- means something beside claimed_until alone
  last_status INTEGER,
  last_error BLOB
);
CREATE UNIQUE INDEX deliveries_by_event ON deliveries (event, endpoint);
CREATE INDEX deliveries_by_due ON deliveries (endpoint, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX deliveries_by_claim ON deliveries (claimed_until) WHERE claimed_until IS NOT NULL;
CREATE INDEX deliveries_by_settlement ON deliveries (settled_at) WHERE settled_at IS NOT NULL;
CREATE INDEX deliveries_by_state ON deliveries (state);
CREATE INDEX deliveries_by_endpoint ON deliveries (endpoint, state);
CREATE TABLE attempts (
  delivery INTEGER NOT NULL,
  number INTEGER NOT NULL,
  began_at REAL NOT NULL,
  duration REAL NOT NULL,
  outcome BLOB NOT NULL,
  status INTEGER,
  error BLOB,
  response BLOB,
  PRIMARY KEY (delivery, number)
) WITHOUT ROWID;
"""

MIGRATIONS: Final = (_VERSION_1, _VERSION_2)
"""What makes version n of version n - 1, in one transaction."""


def place_of(topic: int, offset: int) -> int:
    """Where the event at an offset of a topic is."""
    return topic << OFFSET_BITS | offset


def _recover(db: sqlite3.Connection, path: str) -> None:
    from eventpipe.stores.sqlite_recovery import recover  # not above: it knows the tables, and so needs what is here

    recover(db, path)


SCHEME: Final = Scheme("log of eventpipe", APPLICATION_ID, MIGRATIONS, _recover)
