-- The life of rules: one log for the whole store, kept on the first server; the other servers have the table and no rows.
-- An entry's link is a digest over it and the link before it.
CREATE TABLE rule_log (
    entry   bigint PRIMARY KEY,
    at_ms   bigint NOT NULL,
    benefit text COLLATE "C" NOT NULL,
    person  text NOT NULL,
    content text NOT NULL,
    link    bytea NOT NULL
);
CREATE TRIGGER rule_log_append_only BEFORE UPDATE OR DELETE ON rule_log FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER rule_log_no_truncate BEFORE TRUNCATE ON rule_log FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- An activation run is named by the layers of rules that it brings everybody under (empty: a document that decides without the log). `share` of the
-- subjects, in basis points, are decided; `known` were known when it began, `decided` of them have been looked at.
ALTER TABLE activation ADD COLUMN run text COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE activation ADD COLUMN share integer NOT NULL DEFAULT 10000;
ALTER TABLE activation ADD COLUMN known bigint NOT NULL DEFAULT 0;
ALTER TABLE activation ADD COLUMN decided bigint NOT NULL DEFAULT 0;
ALTER TABLE activation ADD COLUMN begun_at timestamptz NOT NULL DEFAULT now();
