-- What says what became of each record, and by which rule it was decided, is never taken away.

CREATE OR REPLACE TRIGGER frame_no_truncate BEFORE TRUNCATE ON frame FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE OR REPLACE TRIGGER rule_document_no_truncate BEFORE TRUNCATE ON rule_document FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE OR REPLACE TRIGGER dead_letter_no_delete BEFORE DELETE ON dead_letter FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE OR REPLACE TRIGGER dead_letter_no_truncate BEFORE TRUNCATE ON dead_letter FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE OR REPLACE TRIGGER finding_append_only BEFORE UPDATE OR DELETE ON finding FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE OR REPLACE TRIGGER finding_no_truncate BEFORE TRUNCATE ON finding FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
