-- compatible with 9: a program of version 9 goes on holding what was released by hand
-- Held orders that a person let go although a guard would keep them: who, in which role, why, signed. The lane takes it up when it looks at what is held.
CREATE TABLE hold_release (
    number            bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    shard             smallint NOT NULL,
    benefit_period_id smallint NOT NULL,
    sequence          integer NOT NULL,
    at                timestamptz NOT NULL,
    subject           text COLLATE "C" NOT NULL,
    reason            text COLLATE "C" NOT NULL,
    person            text NOT NULL CHECK (person <> ''),
    role              text NOT NULL,
    why               text NOT NULL CHECK (why <> ''),
    key               text COLLATE "C" NOT NULL,
    signature         text COLLATE "C" NOT NULL,
    UNIQUE (shard, subject, benefit_period_id, sequence, reason)
);
CREATE TRIGGER hold_release_append_only BEFORE UPDATE OR DELETE ON hold_release FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER hold_release_no_truncate BEFORE TRUNCATE ON hold_release FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
