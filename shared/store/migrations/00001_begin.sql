-- One schema for Postgres and SQLite. Times are microseconds since 1970 in UTC, 0
-- being "never"; JSON is text; SQLite takes a BYTEA column for what it is given.

-- +goose Up
CREATE TABLE deliveries (
    id              TEXT PRIMARY KEY,
    event           TEXT NOT NULL,
    action          TEXT NOT NULL,
    installation_id BIGINT NOT NULL,
    repo_id         BIGINT NOT NULL,
    body            BYTEA,
    received_at     BIGINT NOT NULL
);
CREATE INDEX deliveries_received ON deliveries (received_at);
CREATE INDEX deliveries_installation ON deliveries (installation_id);
CREATE INDEX deliveries_repo ON deliveries (repo_id);

-- waiting is the number of the event's rows in outbox_waiting. It is counted
-- down in the row, under the row's lock, so that of two consumers that commit at
-- once the last one closes the event.
CREATE TABLE outbox (
    id              TEXT PRIMARY KEY,
    type            TEXT NOT NULL,
    installation_id BIGINT NOT NULL,
    event           TEXT NOT NULL,
    waiting         BIGINT NOT NULL,
    created_at      BIGINT NOT NULL,
    published_at    BIGINT NOT NULL,
    closed_at       BIGINT NOT NULL
);
CREATE INDEX outbox_open ON outbox (published_at, created_at) WHERE closed_at = 0;
CREATE INDEX outbox_closed ON outbox (closed_at) WHERE closed_at > 0;
CREATE INDEX outbox_installation ON outbox (installation_id);

CREATE TABLE outbox_waiting (
    event_id TEXT NOT NULL REFERENCES outbox (id) ON DELETE CASCADE,
    consumer TEXT NOT NULL,
    PRIMARY KEY (event_id, consumer)
);

CREATE TABLE handled (
    consumer   TEXT NOT NULL,
    event_id   TEXT NOT NULL,
    event_type TEXT NOT NULL,
    handled_at BIGINT NOT NULL,
    PRIMARY KEY (consumer, event_id)
);
CREATE INDEX handled_at ON handled (handled_at);

-- rearm_at is when work is due again that was asked for while it was being done;
-- -1 means that it wasn't. installation_id is 0 where the payload names none.
CREATE TABLE work (
    kind            TEXT NOT NULL,
    work_key        TEXT NOT NULL,
    owner           TEXT NOT NULL,
    installation_id BIGINT NOT NULL,
    not_before      BIGINT NOT NULL,
    rearm_at        BIGINT NOT NULL,
    lease           TEXT NOT NULL,
    lease_until     BIGINT NOT NULL,
    attempts        BIGINT NOT NULL,
    payload         TEXT NOT NULL,
    trace_parent    TEXT NOT NULL,
    reason          TEXT NOT NULL,
    created_at      BIGINT NOT NULL,
    PRIMARY KEY (kind, work_key)
);
CREATE INDEX work_due ON work (owner, not_before);
CREATE INDEX work_installation ON work (installation_id);

CREATE TABLE dead_letters (
    id              TEXT PRIMARY KEY,
    installation_id BIGINT NOT NULL,
    consumer        TEXT NOT NULL,
    kind            TEXT NOT NULL, -- of work; '' for an event
    work_key        TEXT NOT NULL,
    event_id        TEXT NOT NULL, -- '' for work
    event_type      TEXT NOT NULL,
    body            TEXT NOT NULL,
    trace_parent    TEXT NOT NULL,
    attempts        BIGINT NOT NULL,
    reason          TEXT NOT NULL,
    died_at         BIGINT NOT NULL
);
CREATE INDEX dead_letters_died ON dead_letters (died_at);

-- The columns beside doc are what is searched by; doc is the whole value.
CREATE TABLE incidents (
    id              TEXT PRIMARY KEY,
    version         BIGINT NOT NULL,
    state           TEXT NOT NULL,
    installation_id BIGINT NOT NULL,
    repo_id         BIGINT NOT NULL,
    branch          TEXT NOT NULL,
    workflow        TEXT NOT NULL,
    fingerprint     TEXT NOT NULL,
    run_id          BIGINT NOT NULL,
    opened_at       BIGINT NOT NULL,
    last_seen_at    BIGINT NOT NULL,
    closed_at       BIGINT NOT NULL,
    doc             TEXT NOT NULL
);
CREATE UNIQUE INDEX incidents_standing ON incidents (repo_id, branch, workflow, fingerprint)
    WHERE state IN ('open', 'handed_off');
CREATE INDEX incidents_place ON incidents (repo_id, branch, workflow, fingerprint, closed_at);
CREATE INDEX incidents_repo_opened ON incidents (repo_id, opened_at, id);
CREATE INDEX incidents_opened ON incidents (opened_at, id);
CREATE INDEX incidents_seen ON incidents (installation_id, last_seen_at);
CREATE INDEX incidents_run ON incidents (repo_id, run_id);

CREATE TABLE repairs (
    id              TEXT PRIMARY KEY,
    version         BIGINT NOT NULL,
    state           TEXT NOT NULL,
    installation_id BIGINT NOT NULL,
    repo_id         BIGINT NOT NULL,
    incident_id     TEXT NOT NULL,
    root            TEXT NOT NULL,
    attempt         BIGINT NOT NULL,
    action          TEXT NOT NULL,
    plan_key        TEXT NOT NULL,
    branch          TEXT NOT NULL,
    base_branch     TEXT NOT NULL,
    pull_number     BIGINT NOT NULL,
    run_id          BIGINT NOT NULL,
    created_at      BIGINT NOT NULL,
    ended_at        BIGINT NOT NULL,
    doc             TEXT NOT NULL
);
CREATE UNIQUE INDEX repairs_attempt ON repairs (root, attempt);
-- Equal edits on one base are one repair. A rerun's key names no workflow, so
-- reruns are not held to it.
CREATE UNIQUE INDEX repairs_live_plan ON repairs (repo_id, plan_key)
    WHERE action = 'edit' AND state IN ('intended', 'proposed');
CREATE INDEX repairs_plan ON repairs (repo_id, plan_key);
CREATE INDEX repairs_branch ON repairs (repo_id, branch);
CREATE INDEX repairs_pull ON repairs (repo_id, pull_number);
CREATE INDEX repairs_run ON repairs (repo_id, run_id);
CREATE INDEX repairs_repo_created ON repairs (repo_id, created_at, id);
CREATE INDEX repairs_created ON repairs (created_at, id);
CREATE INDEX repairs_incident ON repairs (incident_id);
CREATE INDEX repairs_installation ON repairs (installation_id);

-- How many repairs ended in each state; it outlives the repairs.
CREATE TABLE outcomes (
    repo_id         BIGINT NOT NULL,
    rule            TEXT NOT NULL,
    strategy        TEXT NOT NULL,
    state           TEXT NOT NULL,
    installation_id BIGINT NOT NULL,
    n               BIGINT NOT NULL,
    PRIMARY KEY (repo_id, rule, strategy, state)
);

CREATE TABLE run_reports (
    repo_id         BIGINT NOT NULL,
    run_id          BIGINT NOT NULL,
    attempt         BIGINT NOT NULL,
    installation_id BIGINT NOT NULL,
    head_sha        TEXT NOT NULL,
    workflow        TEXT NOT NULL,
    stored_at       BIGINT NOT NULL,
    doc             TEXT NOT NULL,
    PRIMARY KEY (repo_id, run_id, attempt)
);
CREATE INDEX run_reports_sha ON run_reports (repo_id, head_sha, workflow);
CREATE INDEX run_reports_stored ON run_reports (stored_at);

CREATE TABLE switches (
    repo_id         BIGINT PRIMARY KEY,
    installation_id BIGINT NOT NULL,
    state           TEXT NOT NULL,
    set_by          TEXT NOT NULL,
    set_at          BIGINT NOT NULL
);

CREATE TABLE audit (
    id              TEXT PRIMARY KEY,
    at              BIGINT NOT NULL,
    installation_id BIGINT NOT NULL,
    repo_id         BIGINT NOT NULL,
    actor           TEXT NOT NULL,
    action          TEXT NOT NULL,
    object          TEXT NOT NULL,
    why             TEXT NOT NULL
);
CREATE INDEX audit_at ON audit (at, id);
CREATE INDEX audit_repo ON audit (repo_id, at, id);
CREATE INDEX audit_object ON audit (object, at, id);

CREATE TABLE leases (
    name        TEXT PRIMARY KEY,
    holder      TEXT NOT NULL,
    lease_until BIGINT NOT NULL
);

CREATE TABLE slots (
    name    TEXT PRIMARY KEY,
    next_at BIGINT NOT NULL
);

CREATE TABLE counters (
    name   TEXT NOT NULL,
    labels TEXT NOT NULL,
    value  DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (name, labels)
);

-- One row is one bucket, not cumulative: an observation changes a single row.
CREATE TABLE histograms (
    name   TEXT NOT NULL,
    labels TEXT NOT NULL,
    le     TEXT NOT NULL,
    n      BIGINT NOT NULL,
    total  DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (name, labels, le)
);
