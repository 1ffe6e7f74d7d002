"""The tables of a log in SQLite, and how a file of an earlier version becomes one of this version."""

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

MIGRATIONS: Final = (_VERSION_1,)
"""What makes version n of version n - 1, in one transaction."""


def place_of(topic: int, offset: int) -> int:
    """Where the event at an offset of a topic is."""
    return topic << OFFSET_BITS | offset


def _recover(db: sqlite3.Connection, path: str) -> None:
    from eventpipe.stores.sqlite_recovery import recover  # not above: it knows the tables, and so needs what is here

    recover(db, path)


SCHEME: Final = Scheme("log of eventpipe", APPLICATION_ID, MIGRATIONS, _recover)
