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

-- Gives a shard all that it needs for its next orders, if it fits; else nothing, and reserve_budget says how far it goes.
CREATE FUNCTION reserve_whole(of_benefit text, of_year text, for_shard integer, need_minor bigint, at_once boolean) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF NOT at_once THEN
        PERFORM set_config('synchronous_commit', 'off', true);
    END IF;
    UPDATE budget SET reserved_minor = reserved_minor + need_minor
        WHERE benefit = of_benefit AND year = of_year AND stopped_at IS NULL AND reserved_minor + need_minor <= limit_minor;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE budget_share SET reserved_minor = reserved_minor + need_minor WHERE benefit = of_benefit AND year = of_year AND shard = for_shard;
    RETURN true;
END $$;
