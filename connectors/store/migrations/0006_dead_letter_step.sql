-- compatible with 5: a program of version 5 writes no steps and works with the rest
-- What people did with dead letters: who, when and why, and what was put into the log for it. A `replay` is written down before the record is put, with
-- the end of the log at that moment; a `put` says where it then lies; a `close` says that nothing more is to be done. `put_value` is empty where the
-- record was put as it came, `put_event` is the name of the event or answer in it.
CREATE TABLE dead_letter_step (
    topic         text COLLATE "C" NOT NULL,
    shard         smallint NOT NULL,
    record_offset bigint NOT NULL,
    step_no       smallint NOT NULL,
    at            timestamptz NOT NULL DEFAULT now(),
    step          text COLLATE "C" NOT NULL CHECK (step IN ('replay', 'put', 'close')),
    person        text NOT NULL,
    reason        text NOT NULL,
    put_topic     text COLLATE "C" NOT NULL DEFAULT '',
    put_shard     smallint NOT NULL DEFAULT 0,
    put_offset    bigint NOT NULL DEFAULT -1,
    put_key       bytea NOT NULL DEFAULT '',
    put_value     bytea NOT NULL DEFAULT '',
    put_event     text COLLATE "C" NOT NULL DEFAULT '',
    PRIMARY KEY (topic, shard, record_offset, step_no)
);
CREATE INDEX dead_letter_step_put ON dead_letter_step (put_topic, put_shard, put_offset) WHERE step = 'put';
CREATE TRIGGER dead_letter_step_append_only BEFORE UPDATE OR DELETE ON dead_letter_step FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER dead_letter_step_no_truncate BEFORE TRUNCATE ON dead_letter_step FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

INSERT INTO dead_letter_step (topic, shard, record_offset, step_no, at, step, person, reason)
    SELECT topic, shard, record_offset, 1, coalesce(resolved_at, now()), CASE status WHEN 'replayed' THEN 'put' ELSE 'close' END, 'not recorded', resolution
    FROM dead_letter WHERE status <> 'open';
