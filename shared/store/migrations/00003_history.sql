-- +goose Up
-- A failure's history is looked up by workflow and time; the reports' documents
-- hold the fingerprints.
CREATE INDEX run_reports_history ON run_reports (repo_id, workflow, stored_at);
