-- The registry's database. One row a page of 1024 jobs, a submission, a chunk in flight, an event: never one row a job.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value
) WITHOUT ROWID;

-- State of jobs k*1024+1 .. (k+1)*1024, as little-endian arrays of 1024 elements.
-- state first: status queries read only the head of the row.
CREATE TABLE page (
    k          INTEGER PRIMARY KEY,
    state      BLOB NOT NULL,   -- u1, see store.pages.State
    attempt    BLOB NOT NULL,   -- u4, highest attempt handed out
    floor      BLOB NOT NULL,   -- u4, attempts up to this one are revoked
    charged    BLOB NOT NULL,   -- u1, charged losses since the last submission
    planned    BLOB NOT NULL,   -- u1, planned ends since the last submission
    submission BLOB NOT NULL,   -- u4, submission in force, 0 for none
    outcome    BLOB NOT NULL    -- u4, outcome row that holds the job's end, 0 for none
);

-- Parameters of the jobs of a page: one pickle each, end to end, and where each begins (u4, count + 1).
CREATE TABLE pars (
    k       INTEGER PRIMARY KEY,
    offsets BLOB NOT NULL,
    data    BLOB NOT NULL
);

CREATE TABLE class (
    id        TEXT PRIMARY KEY,  -- 12 hex digits
    resources BLOB NOT NULL      -- msgpack of batchpilot_broker.nouns.ResourceClass
) WITHOUT ROWID;

CREATE TABLE submission (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    submitted REAL NOT NULL,
    class     TEXT NOT NULL REFERENCES class (id),
    epoch     TEXT NOT NULL,
    resources BLOB NOT NULL,     -- msgpack: as the user gave them, sorted by name
    priority  INTEGER NOT NULL,
    retries   BLOB NOT NULL,     -- msgpack map: further tries left by kind of failure
    chunked   INTEGER NOT NULL DEFAULT 0,  -- 1: the user's chunks, fed whole
    parent    INTEGER,           -- submission whose failed jobs this one tries again, else NULL
    failure   TEXT               -- kind of failure that it answers: error, memory, walltime
);
CREATE INDEX submission_parent ON submission (parent, failure) WHERE parent IS NOT NULL;

-- The jobs of a submission in the order given: a contiguous stretch, or a u4 array of ids.
-- next: how many of them the feeder has dealt with; a span with next = size is forgotten.
-- cuts: where the user's chunks end, a u4 array, else NULL: a chunk is fed whole.
CREATE TABLE span (
    id         INTEGER PRIMARY KEY,
    submission INTEGER NOT NULL REFERENCES submission (id),
    class      TEXT NOT NULL,
    first      INTEGER NOT NULL,
    size       INTEGER NOT NULL,
    ids        BLOB,
    cuts       BLOB,
    next       INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX span_class ON span (class, id);

-- Spans of submissions that wait for other jobs: not fed, and nobody is started for them.
CREATE TABLE held_span (
    id         INTEGER PRIMARY KEY,
    submission INTEGER NOT NULL REFERENCES submission (id),
    class      TEXT NOT NULL,
    first      INTEGER NOT NULL,
    size       INTEGER NOT NULL,
    ids        BLOB,
    cuts       BLOB,
    next       INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX held_span_submission ON held_span (submission, id);

-- What a submission waits for: jobs that were unfinished when it was made and are not done yet.
CREATE TABLE gate (
    submission INTEGER PRIMARY KEY REFERENCES submission (id),
    after      BLOB NOT NULL,    -- u4 pairs; empty: it is open
    failed     INTEGER           -- a predecessor that did not become done: its jobs expire
);
CREATE INDEX gate_waiting ON gate (submission) WHERE failed IS NULL AND LENGTH(after) > 0;

-- Chunks handed to the broker and not yet ended.
-- Their numbers are never used again: agents speak of chunks that were given away long ago.
CREATE TABLE chunk (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    class      TEXT NOT NULL,
    submission INTEGER NOT NULL,
    attempt    INTEGER NOT NULL,
    ranges     BLOB NOT NULL,    -- u4 pairs, in the order to run
    size       INTEGER NOT NULL,
    fed        REAL NOT NULL,
    agent      TEXT NOT NULL DEFAULT '',   -- '' while queued
    started    REAL              -- when its first job went to a slot
);
CREATE INDEX chunk_agent ON chunk (agent);

-- Jobs to be fed again, before their submission's spans.
CREATE TABLE again (
    id         INTEGER PRIMARY KEY,
    class      TEXT NOT NULL,
    submission INTEGER NOT NULL,
    alone      INTEGER NOT NULL, -- 1: one job a chunk (it was running when its slot or agent died)
    ranges     BLOB NOT NULL
);
CREATE INDEX again_class ON again (class, id);

CREATE TABLE segment (
    id      INTEGER PRIMARY KEY,
    name    TEXT NOT NULL UNIQUE,
    agent   TEXT NOT NULL,
    applied INTEGER NOT NULL DEFAULT 0
);

-- Ends of attempts as they came: event rows (56 bytes each, docs/protocol.md) of one segment.
CREATE TABLE outcome (
    id      INTEGER PRIMARY KEY,
    segment INTEGER NOT NULL REFERENCES segment (id),
    rows    BLOB NOT NULL
);

-- Jobs known to run now; a hint, renewed by reports.
CREATE TABLE running (
    job     INTEGER PRIMARY KEY,
    attempt INTEGER NOT NULL,
    agent   TEXT NOT NULL,
    started REAL NOT NULL,
    log_pos INTEGER NOT NULL DEFAULT -1
);

-- Agents as last seen.
CREATE TABLE agent (
    id      TEXT PRIMARY KEY,
    pool    TEXT NOT NULL,
    host    TEXT NOT NULL,
    pid     INTEGER NOT NULL,
    state   TEXT NOT NULL,       -- starting, idle, busy, draining, lost, gone
    slots   INTEGER NOT NULL,
    busy    INTEGER NOT NULL DEFAULT 0,
    started REAL NOT NULL,
    ended   REAL,
    info    BLOB NOT NULL        -- msgpack of batchpilot_broker.nouns.AgentInfo
) WITHOUT ROWID;

-- What the coordinator must still tell the agents: end these jobs up to this attempt.
CREATE TABLE cancel (
    id     INTEGER PRIMARY KEY,
    ranges BLOB NOT NULL,
    floor  INTEGER NOT NULL
);

CREATE TABLE tag (
    job INTEGER NOT NULL,
    tag TEXT NOT NULL,
    PRIMARY KEY (job, tag)
) WITHOUT ROWID;
CREATE INDEX tag_name ON tag (tag, job);

CREATE TABLE name (
    job  INTEGER PRIMARY KEY,
    name TEXT NOT NULL
);

-- What experiments are made of; rows keep the order in which the names were first defined.
-- function: hash of its pickle, NULL where there is none. takes: msgpack of experiments.taking.Taking.
CREATE TABLE problem (
    name     TEXT PRIMARY KEY,
    function TEXT,
    data     TEXT,               -- JSON: hash of the pickle, list of the hashes of its buffers
    seed     INTEGER,
    cache    INTEGER NOT NULL,
    takes    BLOB NOT NULL
);

CREATE TABLE algorithm (
    name     TEXT PRIMARY KEY,
    function TEXT,
    takes    BLOB NOT NULL
);

-- Problem and algorithm with their parameters; one row for all replications. Numbers are never used again.
CREATE TABLE definition (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    problem   TEXT NOT NULL,
    algorithm TEXT NOT NULL,
    key       BLOB NOT NULL UNIQUE,  -- 16 bytes: hash of all of it, see experiments.encoding
    prob_key  BLOB NOT NULL,         -- the same of the problem's parameters alone
    algo_key  BLOB NOT NULL,         -- and of the algorithm's
    pars      BLOB NOT NULL          -- pickle of (parameters of the problem, of the algorithm)
);

-- Which experiments the jobs of a page are, as little-endian arrays of 1024 elements; 0 where there is none.
CREATE TABLE experiment (
    k          INTEGER PRIMARY KEY,
    definition BLOB NOT NULL,    -- u4
    repl       BLOB NOT NULL     -- u4, from 1
);

-- Requests of sessions on other hosts that were carried out of late, each with its answer.
CREATE TABLE request (
    id     TEXT PRIMARY KEY,
    done   REAL NOT NULL,
    answer BLOB NOT NULL
) WITHOUT ROWID;

-- Submissions of agents to batch systems, and each agent asked for there.
CREATE TABLE allocation (
    id        TEXT PRIMARY KEY,
    pool      TEXT NOT NULL,
    kind      TEXT NOT NULL,     -- class of the pool
    variables TEXT NOT NULL,     -- JSON, sorted: what its job script was rendered with
    submitted REAL NOT NULL,
    ids       TEXT NOT NULL      -- JSON: what the batch system calls its arrays, [] while not known
) WITHOUT ROWID;

CREATE TABLE element (
    allocation TEXT NOT NULL REFERENCES allocation (id),
    number     INTEGER NOT NULL,
    id         TEXT NOT NULL,    -- what the batch system calls it, '' while not known
    state      TEXT NOT NULL,    -- submitting, queued, running, ended
    reason     TEXT NOT NULL,
    agent      TEXT NOT NULL,    -- '' until one has come
    PRIMARY KEY (allocation, number)
) WITHOUT ROWID;
CREATE INDEX element_state ON element (state);
