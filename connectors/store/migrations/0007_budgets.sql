-- compatible with 6
-- Budgets: kept on the first server, the other servers have the tables and no rows. A shard reserves before it releases, so that never more
-- than the limit leaves, whatever happens in between. From the first order that does not fit on (stopped_at) nothing more is given, until an entry
-- of the log of rules with a higher number says the budget anew.
CREATE TABLE budget (
    benefit        text COLLATE "C" NOT NULL,
    year           text COLLATE "C" NOT NULL,
    number         bigint NOT NULL,
    limit_minor    bigint NOT NULL,
    reserved_minor bigint NOT NULL,
    begun_minor    bigint NOT NULL, -- what was reserved already when the budget was said: only so far may it be passed
    stopped_at     timestamptz,
    PRIMARY KEY (benefit, year)
);

CREATE TABLE budget_share (
    benefit        text COLLATE "C" NOT NULL,
    year           text COLLATE "C" NOT NULL,
    shard          smallint NOT NULL,
    reserved_minor bigint NOT NULL,
    PRIMARY KEY (benefit, year, shard)
);

-- Lets a budget stand for a shard. Whoever says it anew knows what has been released so far, by shard; who finds it said knows that of their own.
-- A share never becomes smaller, since what it has reserved may be leaving just now.
CREATE FUNCTION stand_budget(
    of_benefit text, of_year text, said_number bigint, said_limit_minor bigint, of_shards smallint[], released_minor bigint[]
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO budget VALUES (of_benefit, of_year, said_number, said_limit_minor, 0, -1) ON CONFLICT DO NOTHING;
    PERFORM FROM budget WHERE benefit = of_benefit AND year = of_year FOR UPDATE;
    INSERT INTO budget_share AS s SELECT of_benefit, of_year, r.shard, r.minor FROM unnest(of_shards, released_minor) AS r (shard, minor)
        ON CONFLICT (benefit, year, shard) DO UPDATE SET reserved_minor = greatest(s.reserved_minor, EXCLUDED.reserved_minor);
    UPDATE budget SET reserved_minor = (SELECT sum(s.reserved_minor) FROM budget_share AS s WHERE s.benefit = of_benefit AND s.year = of_year)
        WHERE benefit = of_benefit AND year = of_year;
    UPDATE budget SET number = said_number, limit_minor = said_limit_minor, stopped_at = NULL, begun_minor = reserved_minor
        WHERE benefit = of_benefit AND year = of_year
        AND (begun_minor < 0 OR number < said_number OR (number = said_number AND limit_minor <> said_limit_minor));
END $$;

-- Gives a shard what it needs for its next orders, as sums up to each of them: for as many as fit, from the first on. Where some do not fit, the budget
-- stops. A reservation need not be on disk before the release is, where both are written to one server in this order.
CREATE FUNCTION reserve_budget(of_benefit text, of_year text, for_shard integer, needs_minor bigint[], at_once boolean) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    given_minor bigint;
    most_minor  bigint := needs_minor[cardinality(needs_minor)];
BEGIN
    IF NOT at_once THEN
        PERFORM set_config('synchronous_commit', 'off', true);
    END IF;
    PERFORM FROM budget WHERE benefit = of_benefit AND year = of_year FOR UPDATE;
    SELECT coalesce(max(need), 0) INTO given_minor FROM budget JOIN unnest(needs_minor) AS n (need) ON stopped_at IS NULL AND reserved_minor + need <= limit_minor
        WHERE benefit = of_benefit AND year = of_year;
    UPDATE budget SET reserved_minor = reserved_minor + given_minor, stopped_at = CASE WHEN given_minor < most_minor THEN coalesce(stopped_at, now()) END
        WHERE benefit = of_benefit AND year = of_year;
    UPDATE budget_share SET reserved_minor = reserved_minor + given_minor WHERE benefit = of_benefit AND year = of_year AND shard = for_shard;
    RETURN given_minor;
END $$;
