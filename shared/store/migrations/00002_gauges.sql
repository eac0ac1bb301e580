-- +goose Up
-- What a function saw last, the rate limit that GitHub told it for instance. A
-- value that is older than valid_until says nothing any more.
CREATE TABLE gauges (
    name        TEXT NOT NULL,
    labels      TEXT NOT NULL,
    value       DOUBLE PRECISION NOT NULL,
    valid_until BIGINT NOT NULL,
    PRIMARY KEY (name, labels)
);
CREATE INDEX dead_letters_consumer ON dead_letters (consumer, died_at);
