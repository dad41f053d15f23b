-- Why a dead letter is no longer open, in the words of the person who dealt with it, and when.
ALTER TABLE dead_letter ADD COLUMN resolution text NOT NULL DEFAULT '';
ALTER TABLE dead_letter ADD COLUMN resolved_at timestamptz;
